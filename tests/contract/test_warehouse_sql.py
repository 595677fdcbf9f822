"""Every statement that BigQuery is sent, judged by Google's own analyzer against the tables it is sent about.

The statements are those of a whole life of every dataset of the catalogue, in memory: loaded, found loaded,
reported. What arrives at BigQuery's API is judged, whoever sends it.
"""

from __future__ import annotations

import ast
import datetime as dt
import gzip
import io
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from fake_http import Request
from fakes import Stack
from googlesql import Analyzed, Catalog, GoogleSql, RefusedError, Schema
from repository import REPOSITORY

from elt import bulk, evolution, status
from elt.catalogue import STANDARD_AUDITS, Column, Dataset, Day, Hour, Publisher, Year
from elt.catalogue.model import PARTS
from elt.catalogue.registry import DATASETS, MARTS
from elt.layout import lake_table, mart_table
from elt.orchestration.pages import charts, history
from elt.periods import Partition, Period
from elt.stages.warehouse import _insert
from elt.stores import period_column
from elt.warehouse import load_log, tables
from elt.warehouse.audits import rules
from elt.warehouse.sql import audit_statement
from taxiway.emulators.bigquery import functions

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
    """A life of every dataset, in a stack in memory that takes itself for BigQuery itself.

    The catalogue's own are by months or have no periods: with one by each of the others.
    """
    with mock.patch.dict(DATASETS, {ds.name: ds for ds in map(by_period, OTHERS)}):
        return _recorded()


def by_period(first: Period) -> Dataset:
    columns = (Column("at", "timestamp", "When."), Column("amount", "float64", "Any."))
    numbers = "_".join(PARTS[: len(repr(first).split(","))])
    return Dataset(
        f"by_{first.grain}", "Own", f"/own_{numbers}.csv", f"by_{first.grain}", "at", columns, first=first,
        audits=STANDARD_AUDITS, source=Publisher("own", "https://publisher.test"),
    )  # fmt: skip


OTHERS: list[Period] = [Hour(2024, 1, 1, 9), Day(2024, 1, 1), Year(2024)]


def _recorded() -> Recorder:
    stack, recorder = Stack(), Recorder()
    stack.connections.emulated = False
    stack.bigquery.after = recorder
    status.check_access(stack.connections)
    status.status(stack.connections)
    for ds in DATASETS.values():
        load(stack, ds)
    partitions = [Partition(ds.name, period_of(ds)) for ds in DATASETS.values()]
    assert {entry["state"] for entry in status.status(stack.connections)} == {"loaded"}
    assert status.status(stack.connections, partitions)
    assert not any(status.missing(stack.connections, partitions).values())
    history.read(stack.connections, DATASETS["yellow"], period_of(DATASETS["yellow"]))
    for mart in MARTS.values():
        status.mart_head(stack.connections, mart, 5)
        charts.read(stack.connections, mart)
    older(stack)
    with stack.warehouse() as warehouse:
        assert load_log.latest(warehouse)
    # A column that is new in the catalogue.
    stack.bigquery.sql("ALTER TABLE d.zones DROP COLUMN service_zone")
    schema = stack.bigquery.tables["zones"]["schema"]
    schema["fields"] = [column for column in schema["fields"] if column["name"] != "service_zone"]
    stack.connections.database = None
    assert evolution.apply(stack.connections, DATASETS["zones"])
    return recorder


def older(stack: Stack) -> None:
    """Make the load log that of a version which did not note sources."""
    stack.bigquery.sql("ALTER TABLE d.load_log DROP COLUMN source")
    schema = stack.bigquery.tables["load_log"]["schema"]
    schema["fields"] = [column for column in schema["fields"] if column["name"] != "source"]


def load(stack: Stack, ds: Dataset) -> None:
    month = str(period_of(ds)) if ds.every else None
    stages = STAGES if ds.tabular else STAGES[:1]
    stages = stages if ds.feeds else tuple(stage for stage in stages if stage != "mart")
    stack.publisher.publish(ds.name, month, published(ds))
    for run_id in ("first", "again"):
        for stage in stages:
            stack.run(stage, ds, month, run_id)
    if ds.tabular and ds.first:
        load_together(stack, ds)


def load_together(stack: Stack, ds: Dataset) -> None:
    """The following three periods at once."""
    period = period_of(ds)
    assert period
    requests = [stack.request(ds, str(period.shift(number)), "bulk") for number in (1, 2, 3)]
    for request in requests:
        stack.publisher.publish(ds.name, str(request.period), published(ds, request.period))
    for step in ("lake", "warehouse", "mart") if ds.feeds else ("lake", "warehouse"):
        done = bulk.run(step, requests, stack.connections)
        assert len(done["done"]) == len(requests), done["failed"]


def period_of(ds: Dataset) -> Period | None:
    return max(ds.first, type(ds.first).of(Hour(2024, 1, 1, 9).start)) if ds.first else None


def published(ds: Dataset, period: Period | None = None) -> bytes:
    """A file with a row, as a publisher might have it."""
    if not ds.tabular:
        return b"anything"
    month = period or period_of(ds)
    day = month.start if month else dt.datetime(2024, 1, 1, 9)  # noqa: DTZ001 - local
    values = {
        "float64": 1.5, "numeric": 1.5, "string": "x", "bool": True, "date": day.date(), "datetime": day,
        "timestamp": day.replace(tzinfo=dt.UTC),
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


def different(recorded: Recorder) -> list[Statement]:
    """The statements without those that differ by a run's staging table only."""
    return list({re.sub(r"_[0-9a-f]{10}`", "`", sent.text): sent for sent in recorded.statements}.values())


def judged(catalog: Catalog, statements: list[Statement]) -> Iterator[list[Analyzed]]:
    for sent in statements:
        try:
            yield catalog.analyze(sent.text, dict(sent.parameters))
        except RefusedError as error:
            file, line = sent.line
            pytest.fail(f"{file.relative_to(REPOSITORY)}:{line}: {error}\n{sent.text}")


def test_every_statement_of_every_dataset_is_what_bigquery_understands(
    catalog: Catalog, recorded: Recorder
) -> None:
    kinds = Counter(resolved.kind for script in judged(catalog, different(recorded)) for resolved in script)
    assert set(kinds) == {
        "query", "insert", "delete", "begin", "commit", "alter_table", "create_external_table",
    }  # fmt: skip
    assert kinds["create_external_table"] == len(TABULAR) + len(OTHERS)
    assert kinds["begin"] == kinds["commit"]


def test_the_statements_are_those_of_every_line_that_sends_one(recorded: Recorder) -> None:
    """A statement that this life does not reach is noticed here, by the line that would send it."""
    lines = {sent.line for sent in recorded.statements}
    unheard = [
        f"{path.relative_to(REPOSITORY)}:{call.lineno}"
        for path, call in senders()
        if not any(path == file and call.lineno <= line <= (call.end_lineno or 0) for file, line in lines)
    ]
    assert unheard == []
    assert len(list(senders())) > 5


def senders() -> Iterator[tuple[Path, ast.Call]]:
    """Calls of what a warehouse sends statements by."""
    for folder in ("plugins", "dags", "dags_local", "scripts/taxiway"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            if path == SENDER or "emulators" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    by = ast.unparse(node.func)
                    if by.endswith((".query", ".query_and_wait", "warehouse.execute")):
                        yield path, node


def test_nothing_else_sends_statements() -> None:
    """Whoever has a client of BigQuery's asks for a job's state by it, or hands it to the warehouse."""
    importing = {
        str(path.relative_to(PLUGINS))
        for path in PLUGINS.rglob("*.py")
        if re.search(r"from google\.cloud(\.bigquery import .*Client|.* import bigquery)", path.read_text())
    }
    assert importing == {"elt/stores/bigquery.py", "elt/connections.py", "elt/orchestration/triggers.py"}


def test_every_file_of_sql_is_in_a_statement_that_is_judged(recorded: Recorder) -> None:
    # A job that runs several of them has numbered their parameters.
    texts = [re.sub(r"(@[a-z_]+)_\d+\b", r"\1", sent.text) for sent in recorded.statements]
    texts += recorded.views.values()
    files = [path for path in PLUGINS.rglob("sql/**/*.sql") if path.parent.name != "postgres"]
    assert len(files) > 15
    for path in files:
        parts = re.split(r"\$\{\w+\}", path.read_text().strip().rstrip(";").replace("$$", "$"))
        pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
        assert any(pattern.search(text) for text in texts), f"{path} is in no statement"


@pytest.mark.parametrize("name", TABULAR)
def test_an_audit_and_a_mart_of_each_dataset_are_judged(name: str, recorded: Recorder) -> None:
    fed = Counter(
        feed.mart
        for sent in recorded.statements
        for feed in TABULAR[name].feeds
        if f"INSERT INTO `p.d.mart_{feed.mart}`" in sent.text
        and f"FROM `p.d.{TABULAR[name].table}`" in sent.text
    )
    assert set(fed) == {feed.mart for feed in TABULAR[name].feeds}
    judgements = [sent.text for sent in recorded.statements if f"`p.d.staging_{name}_" in sent.text]
    for audit in TABULAR[name].audits:
        assert any(f"SELECT '{audit.name}' AS audit" in text for text in judgements)


@pytest.mark.parametrize("name", TABULAR)
def test_audits_of_amounts_count_what_is_no_number(name: str, google_sql: GoogleSql) -> None:
    """Comparisons with NaN are false on BigQuery: a rule of what is too much would let it pass."""
    ds = TABULAR[name]
    schema = {column["name"]: column["type"] for column in tables.fields(ds.columns)}
    amounts = [column for column, kind in schema.items() if kind == "FLOAT"]
    rows = [dict.fromkeys(amounts, amount) for amount in (math.nan, math.inf, -math.inf)]
    # A difference that is NaN, of two infinite amounts.
    rows += [dict.fromkeys(amounts, 0.0) | {"total_amount": math.inf, "congestion_surcharge": -math.inf}]
    staged = google_sql.catalog({"s": schema})
    for audit in (audit for audit in ds.audits if audit.name.startswith("amounts_")):
        charged = set(re.findall(r"\w+", audit.variables["total"])) & schema.keys()
        if not charged <= set(amounts):
            continue  # decimals have no NaN
        # Each alone: what is infinite would be enough for a verdict on all.
        for row in rows:
            (found,) = staged.select(audit_statement(audit, ds.package, staging="s"), {"s": [row]})
            assert (found["passed"], found["found"][:7]) == (False, "1 of 1 "), row


@pytest.mark.parametrize("name", [name for name, ds in TABULAR.items() if ds.every])
def test_audits_and_marts_take_decimals_for_amounts(
    name: str, google_sql: GoogleSql, catalog: Catalog
) -> None:
    """A user who gives a column the type *numeric* changes no SQL."""
    ds = TABULAR[name]
    columns = (*(replace(c, type="numeric") if c.type == "float64" else c for c in ds.columns),)
    schema = {column["name"]: column["type"] for column in tables.fields((period_column("month"), *columns))}
    decimals = google_sql.catalog({**catalog.tables, f"p.d.{ds.table}": schema})
    given = {"rows": "INT64", "quarantined": "INT64", "dataset": "STRING"}
    given |= {name: parameter.type for name, parameter in load_log.period_values(period_of(ds)).items()}
    assert decimals.analyze(rules(ds, f"`p.d.{ds.table}`", f"`p.d.{ds.table}`"), given)
    for feed in ds.feeds:
        filling = _insert(ds, feed.mart, f"`p.d.{mart_table(feed.mart)}`", f"`p.d.{ds.table}`")
        assert decimals.analyze(filling, given)


# What the analyzer makes of mistakes


@pytest.mark.parametrize(
    ("written", "mistaken", "said"),
    [
        ("dropoff_datetime <", "dropof_datetime <", "Unrecognized name: dropof_datetime"),
        ("INTERVAL 1 DAY", "INTERVAL 1.5 DAY", "Interval value must be coercible to INT64"),
        ("COUNTIF(", "COUNT_IF(", "Function not found: COUNT_IF"),
        ("FORMAT('%d rows of", "PRINTF('%d rows of", "Function not found: PRINTF"),
        ("= 0 AS passed", "AS passed", "incompatible types: BOOL, INT64"),
        ("@rows", "@row", "Query parameter 'row_0' not found"),
    ],
)
def test_a_mistake_in_an_audit_is_refused(
    written: str, mistaken: str, said: str, catalog: Catalog, recorded: Recorder
) -> None:
    sent = next(sent for sent in recorded.statements if "`p.d.staging_fhv_" in sent.text)
    assert written in sent.text
    with pytest.raises(RefusedError, match=re.escape(said)):
        catalog.analyze(sent.text.replace(written, mistaken, 1), dict(sent.parameters))


def test_the_emulator_knows_the_functions_that_the_analyzer_knows(
    google_sql: GoogleSql, recorded: Recorder
) -> None:
    assert {name for name in google_sql.functions() if name.isidentifier()} == functions.ANALYZED
    assert {functions.first_foreign(sent.text) for sent in different(recorded)} == {""}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("INSERT INTO `p.d.zones` (location_id) SELECT 1.5", "FLOAT64 which cannot be inserted into"),
        ("INSERT INTO `p.d.zones` (location) SELECT 1", "Column location is not present"),
        ("SELECT zone::STRING FROM `p.d.zones`", "Syntax error"),
        ("SELECT strptime(zone, '%Y') FROM `p.d.zones`", "Function not found: strptime"),
        ("SELECT zone FROM `p.d.zone`", "Table not found"),
        ("DELETE FROM `p.d.zones`", "DELETE must have a WHERE clause"),
        ("SELECT SUM(trips) OVER (PARTITION BY revenue) FROM `p.d.daily_zone_revenue`", "Partitioning by"),
        ("ALTER TABLE `p.d.zones` ADD COLUMN x STRING OPTIONS (descripton = 'x')", "Unknown option"),
        ("SELECT month FROM `p.d.zones_lake`", "Unrecognized name: month"),
    ],
)
def test_what_bigquery_would_not_run_is_refused(text: str, said: str, catalog: Catalog) -> None:
    with pytest.raises(RefusedError, match=said):
        catalog.analyze(text)


# The table over the lake's files


@pytest.mark.parametrize("name", TABULAR)
def test_the_table_over_the_lakes_files_has_the_columns_of_files_and_folders(
    name: str, catalog: Catalog
) -> None:
    ds = TABULAR[name]
    (created,) = catalog.analyze(tables.lake_statement(ds, f"`p.d.{lake_table(ds)}`", "b"))
    kinds = {column["name"]: column["type"] for column in tables.fields(ds.columns)}
    assert created.columns == {name: tables.SQL_TYPES.get(kind, kind) for name, kind in kinds.items()}
    assert created.partition_columns == ({"year": "INT64", "month": "INT64"} if ds.every else {})


def test_a_month_of_the_lakes_files_is_asked_for_by_its_folders(catalog: Catalog) -> None:
    query = "SELECT year, month, COUNT(*) AS n FROM `p.d.yellow_trips_lake` WHERE year = 2024 AND month < 3"
    (found,) = catalog.analyze(f"{query} GROUP BY year, month")
    assert found.columns == {"year": "INT64", "month": "INT64", "n": "INT64"}


@pytest.mark.parametrize(
    "text", ["\"quoted\" and 'quoted'", "back\\slash", "two\nlines", "Käse 🧀", "$$ ${zones}"]
)
def test_a_title_is_a_text_whatever_is_in_it(text: str, catalog: Catalog) -> None:
    zones = replace(DATASETS["zones"], title=text)
    assert catalog.analyze(tables.lake_statement(zones, "`p.d.zones_lake`", "b"))


def test_a_datasets_own_column_of_a_folders_name_is_read_from_its_files(catalog: Catalog) -> None:
    yellow = DATASETS["yellow"]
    own = replace(yellow, columns=(*yellow.columns, replace(yellow.columns[0], name="year", aliases=())))
    (created,) = catalog.analyze(tables.lake_statement(own, "`p.d.yellow_trips_lake`", "b"))
    assert created.columns["year"] == "INT64"
    assert created.partition_columns == {}


# What readers are shown


def test_documented_queries_are_what_bigquery_understands(google_sql: GoogleSql, catalog: Catalog) -> None:
    """Those of docs/pipelines.md, which name tables without their dataset."""
    named = google_sql.catalog({name.rpartition(".")[2]: schema for name, schema in catalog.tables.items()})
    queries = re.findall(r"```sql\n(.*?)```", (REPOSITORY / "docs" / "pipelines.md").read_text(), re.DOTALL)
    assert len(queries) >= 2
    for query in queries:
        assert named.analyze(query)


def test_the_audit_of_the_documented_dataset_is_what_bigquery_understands(google_sql: GoogleSql) -> None:
    page = (REPOSITORY / "docs" / "your-own-dataset.md").read_text()
    (audit,) = [text for text in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "${staging}" in text]
    bikes = google_sql.catalog({"p.d.staging": {"bikes": "INTEGER"}})
    (found,) = bikes.analyze(audit.replace("${staging}", "`p.d.staging`").replace("${bikes}", "bikes"))
    assert found.columns == {"passed": "BOOL", "found": "STRING"}
