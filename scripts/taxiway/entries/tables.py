"""A table of a database: what it says of its columns, and its first rows as a sample."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, cast

import pyarrow.parquet as pq

from elt.catalogue import Database, Dataset, Type
from elt.connection_fields import ConnectionFields
from elt.errors import SourceNotPublishedError
from elt.periods import KINDS, Grain, Period
from elt.sources import open_source
from elt.sources.database import quoted
from taxiway.entries.sample import Sample
from taxiway.errors import UsageError

MOST_ROWS = 10_000
# What a database calls its types, where its values as text leave it open, or there are none.
_TYPES: Mapping[str, Type] = {
    **dict.fromkeys(("numeric", "decimal"), "numeric"),
    "date": "date",
    **dict.fromkeys(("timestamp without time zone", "datetime"), "datetime"),
    # MySQL's is a moment in UTC; Postgres never calls one so.
    **dict.fromkeys(("timestamp with time zone", "timestamp"), "timestamp"),
    **dict.fromkeys(("text", "character varying", "character", "varchar", "char", "uuid", "json"), "string"),
}


@dataclass(frozen=True)
class Table:
    """A table (`orders` or `public.orders`) in the database of an Airflow connection `name`."""

    name: str
    found: ConnectionFields
    table: str

    def types(self) -> dict[str, Type]:
        """The types of its columns that the database knows better than their values tell."""
        *schema, table = self.table.split(".")
        here = "DATABASE()" if self.found.conn_type == "mysql" else "ANY(current_schemas(false))"
        of_schema = _text(schema[0]) if schema else here
        rows = self._rows(
            "SELECT column_name AS name, data_type AS type FROM information_schema.columns "  # noqa: S608
            f"WHERE table_name = {_text(table)} AND table_schema = {of_schema}",
            f"there is no table {self.table} that the login of {self.name} may read",
        )
        return {row["name"]: _TYPES[row["type"]] for row in rows if row["type"] in _TYPES}

    def first(self, cursor: str, grain: Grain) -> Period:
        """The period of its earliest row."""
        (row,) = self._rows(f"SELECT MIN({self._quoted(cursor)}) AS first FROM {self._source}")  # noqa: S608
        try:
            moment = dt.datetime.fromisoformat(str(row["first"]))
        except ValueError:
            raise UsageError(
                f"the earliest {cursor} of {self.table} is {row['first']}, which is no date or time",
                "Name another column: --key COLUMN.",
            ) from None
        return KINDS[grain].of(moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment)

    @contextmanager
    def sample(self, cursor: str, period: Period | None) -> Iterator[Sample]:
        """Its first rows, or those of a period."""
        column = self._quoted(cursor)
        where = f" WHERE {column} >= '{{start}}' AND {column} < '{{end}}'" if period else ""
        with self._read(f"SELECT * FROM {self._source}{where} LIMIT {MOST_ROWS}", period) as file:  # noqa: S608
            whole = pq.ParquetFile(file).metadata.num_rows < MOST_ROWS
            yield Sample(self.table, "parquet", ",", file, whole)

    def _rows(self, query: str, otherwise: str = "") -> list[dict[str, Any]]:
        with self._read(query, None, otherwise) as file:
            return cast(list[dict[str, Any]], pq.read_table(file).to_pylist())

    @contextmanager
    def _read(self, query: str, period: Period | None, otherwise: str = "") -> Iterator[BinaryIO]:
        dataset = Dataset("sample", "Sample", first=period, source=Database(self.name, query=query))
        with open_source(dataset, self.found, _no_bucket) as source, tempfile.TemporaryFile() as file:
            try:
                with source.open(period) as pieces:
                    file.writelines(pieces)
            except SourceNotPublishedError:
                rows = f"{self.table} has no rows{f' of a {period.grain} that is over' if period else ''}"
                raise UsageError(otherwise or rows, "Name a table that has some: --table TABLE.") from None
            file.seek(0)
            yield cast(BinaryIO, file)

    @property
    def _source(self) -> str:
        return ".".join(map(self._quoted, self.table.split(".")))

    def _quoted(self, name: str) -> str:
        return quoted(name, "`" if self.found.conn_type == "mysql" else '"')


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _no_bucket() -> NoReturn:
    raise NotImplementedError
