"""Every statement that BigQuery is sent, judged by Google's own analyzer against the tables it is sent about.

The statements are those of a whole life of every dataset of the catalogue, in memory: loaded, found loaded,
forced, reported. What arrives at BigQuery's API is judged, whoever sends it.
"""

from __future__ import annotations

import ast
import datetime as dt
import gzip
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from fake_http import Request
from fakes import Stack
from googlesql import Analyzed, Catalog, GoogleSql, RefusedError, Schema
from repository import REPOSITORY

from elt import status
from elt.catalogue import Dataset, Publisher
from elt.catalogue.registry import DATASETS, MARTS
from elt.layout import lake_table
from elt.months import Month, Partition
from elt.warehouse import load_log, tables
from elt.warehouse.sql import statement

PLUGINS = REPOSITORY / "plugins"
SENDER = PLUGINS / "elt" / "stores" / "bigquery.py"
STAGES = ("download", "conform", "stage", "audit", "publish", "mart")
TABULAR = {name: ds for name, ds in DATASETS.items() if ds.tabular}


@dataclass(frozen=True)
class Statement:
    """A text as BigQuery gets it, with its parameters' types, and the line of ours that sends it."""

    text: str
    parameters: tuple[tuple[str, str], ...]
    line: tuple[Path, int]


@dataclass
class Recorder:
    """What arrives at BigQuery: statements, and tables by full name with their columns' types."""

    statements: list[Statement] = field(default_factory=list)
    tables: dict[str, Schema] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: Request) -> None:
        if request.method != "POST":
            return
        body = request.json
        query = body.get("configuration", body).get("query", {})
        if request.path.endswith("/queries"):
            query = body
        if "tableReference" in body:
            self._created(body)
        elif "query" in query:
            given = query.get("queryParameters", [])
            types = tuple((p["name"], p["parameterType"]["type"]) for p in given)
            self.statements.append(Statement(query["query"], types, _line()))

    def _created(self, table: dict[str, Any]) -> None:
        name = f"p.d.{table['tableReference']['tableId']}"
        if "view" in table:
            self.views[name] = table["view"]["query"]
        else:
            self.tables[name] = {column["name"]: column["type"] for column in table["schema"]["fields"]}


def _line() -> tuple[Path, int]:
    """Where the statement that is being sent comes from: the frame below the warehouse's own."""
    frame, sent = sys._getframe(), False
    while frame:
        path = Path(frame.f_code.co_filename)
        if sent and path != SENDER and path.is_relative_to(PLUGINS):
            return path, frame.f_lineno
        sent, frame = sent or path == SENDER, frame.f_back
    raise AssertionError("a statement that the library's warehouse has not sent")


@pytest.fixture(scope="module")
def recorded() -> Recorder:
    """A life of every dataset, in a stack in memory that takes itself for BigQuery itself."""
    stack, recorder = Stack(), Recorder()
    stack.connections.emulated = False
    stack.bigquery.after = recorder
    status.status(stack.connections)
    for ds in DATASETS.values():
        load(stack, ds)
    partitions = [Partition(ds.name, month_of(ds)) for ds in DATASETS.values()]
    assert {entry["state"] for entry in status.status(stack.connections)} == {"loaded"}
    assert status.status(stack.connections, partitions)
    assert not any(status.missing(stack.connections, partitions).values())
    for mart in MARTS.values():
        status.mart_head(stack.connections, mart, 5)
    # An older version's log has no such column.
    del stack.bigquery.tables["load_log"]["schema"]["fields"][9]
    with stack.warehouse() as warehouse:
        assert tables.widen_log(warehouse)
    return recorder


def load(stack: Stack, ds: Dataset) -> None:
    month = str(month_of(ds)) if ds.monthly else None
    stages = STAGES if ds.tabular else STAGES[:1]
    stages = stages if ds.feeds else tuple(stage for stage in stages if stage != "mart")
    stack.publisher.publish(ds.name, month, published(ds))
    for run_id, how in (("first", {}), ("again", {}), ("forced", {"force": True})):
        for stage in stages:
            stack.run(stage, ds, month, run_id, **how)


def month_of(ds: Dataset) -> Month | None:
    return max(ds.first_month, Month(2024, 1)) if ds.first_month else None


def published(ds: Dataset) -> bytes:
    """A file with a row, as a publisher might have it."""
    if not ds.tabular:
        return b"anything"
    month = month_of(ds)
    day = dt.datetime.combine(month.first_day(), dt.time(9)) if month else dt.datetime(2024, 1, 1)
    values = {
        "float64": 1.5, "numeric": 1.5, "string": "x", "bool": True, "date": day.date(), "datetime": day,
        "timestamp": day,
    }  # fmt: skip
    table = pa.table({column.name: [values.get(column.type, 1)] for column in ds.columns})
    file = io.BytesIO()
    kind, _, packed = ds.file_format.partition(".")
    if kind == "parquet":
        pyarrow.parquet.write_table(table, file)
    elif kind == "csv":
        pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(delimiter=ds.delimiter))
    else:
        file.write(json.dumps(table.to_pylist()[0], default=str).encode())
    return gzip.compress(file.getvalue()) if packed else file.getvalue()


@pytest.fixture(scope="module")
def catalog(google_sql: GoogleSql, recorded: Recorder) -> Catalog:
    """The tables and views that the library has created, those of the lake's files among them."""
    made = google_sql.catalog(recorded.tables, recorded.views)
    return google_sql.catalog({**made.tables, **lake_tables(made, recorded)})


def lake_tables(catalog: Catalog, recorded: Recorder) -> dict[str, Schema]:
    found = dict[str, Schema]()
    for sent in recorded.statements:
        if "EXTERNAL TABLE" in sent.text:
            (created,) = catalog.analyze(sent.text)
            name = re.search("TABLE `(.*?)`", sent.text)
            assert name is not None
            found[name[1]] = {**created.columns, **created.partition_columns}
    return found


def judged(catalog: Catalog, statements: list[Statement]) -> Iterator[tuple[Statement, list[Analyzed]]]:
    for sent in statements:
        try:
            yield sent, catalog.analyze(sent.text, dict(sent.parameters))
        except RefusedError as error:
            file, line = sent.line
            pytest.fail(f"{file.relative_to(REPOSITORY)}:{line}: {error}\n{sent.text}")


def test_every_statement_of_every_dataset_is_what_bigquery_understands(
    catalog: Catalog, recorded: Recorder
) -> None:
    different = list(dict.fromkeys(recorded.statements))
    kinds = Counter(
        resolved.kind for _, script in judged(catalog, different) for resolved in script
    )
    print(len(different), kinds)
    assert set(kinds) == {
        "query", "insert", "delete", "begin", "commit", "alter_table", "create_external_table",
    }  # fmt: skip
    assert kinds["create_external_table"] == len(TABULAR)
    assert kinds["begin"] == kinds["commit"]
