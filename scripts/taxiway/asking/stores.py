"""The stores that can be asked: each takes a statement and gives an Answer, and says which tables it has.

All of them only read unless they are told to write. An interruption cancels what they are doing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from rich.filesize import decimal

from elt.connections import Connections
from elt.errors import PipelineError
from taxiway.asking.answers import Answer, distinct
from taxiway.errors import TaxiwayError, UsageError

if TYPE_CHECKING:
    import psycopg
    from psycopg.adapt import Loader

STORES = ("warehouse", "postgres", "lake")
# What BigQuery calls a query; all else changes something, or may.
_READING = ("SELECT",)
_POSITION = re.compile(r" at \[(\d+):(\d+)\]")
# What Postgres can keep a cursor on. Everything else answers in few rows.
_CURSOR = re.compile(
    r"\s*(?:(?:--[^\n]*\n|/\*.*?\*/)\s*)*(select|with|values|table)\b", re.IGNORECASE | re.DOTALL
)
_DECLARE = "DECLARE taxiway NO SCROLL CURSOR FOR "
_PIECE = 5_000


class Store(Protocol):
    """Something that can be asked in SQL."""

    def ask(
        self, statement: str, *, write: bool = False, few: int | None = None
    ) -> AbstractContextManager[Answer]:
        """Run one statement; TaxiwayError or elt's errors with its place in the statement.

        `few` is how many rows will be read, if not all: no more of them are fetched.
        """

    def tables(self) -> Mapping[str, list[str]]:
        """Columns by table, of what can be asked for by its name alone."""


def open_store(name: str, connections: Connections) -> Store:
    """A store by its name, one of STORES."""
    if name == "lake":
        from taxiway.asking.lake import Files

        return Files(connections)
    return Postgres(connections) if name == "postgres" else Warehouse(connections)


def pointed(message: str, statement: str, line: int, column: int) -> TaxiwayError:
    """An error that shows the line of the statement which it is about, and where in it; both count from 1."""
    lines = statement.expandtabs(1).splitlines()
    if not 0 < line <= len(lines):
        return TaxiwayError(message)
    # A long line by its part around the place.
    start = max(0, min(column - 40, len(lines[line - 1]) - 80))
    shown = lines[line - 1][start : start + 80]
    return TaxiwayError(message, f"{shown}\n         {' ' * max(column - 1 - start, 0)}^")


class Warehouse:
    """BigQuery, or its emulator."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @contextmanager
    def ask(self, statement: str, *, write: bool = False, few: int | None = None) -> Iterator[Answer]:
        """Run a statement; one that is no query only with `write`."""
        with self._connections.warehouse() as warehouse, _pointing(statement):
            if not write and (kind := warehouse.plan(statement)[0]) not in _READING:
                raise UsageError(
                    f"the statement may change something ({kind.lower() or 'its type is unknown'}): not run",
                    "Add --write if it is meant to.",
                )
            found = warehouse.ask(statement, few)
            read = getattr(found, "total_bytes_processed", None)
            yield Answer(
                distinct(field.name for field in found.schema),
                (row.values() for row in found),
                lambda: [_bigquery_type(field) for field in found.schema],
                lambda _: int(found.total_rows or 0),
                f"{decimal(read)} read" if read else "",
            )

    def tables(self) -> Mapping[str, list[str]]:
        """One query of the dataset's own description."""
        with self._connections.warehouse() as warehouse:
            return warehouse.columns()


@contextmanager
def _pointing(statement: str) -> Iterator[None]:
    try:
        yield
    except PipelineError as error:
        message = str(error).replace("BigQuery: query: ", "BigQuery: ").removeprefix("BigQuery: ")
        if not (found := _POSITION.search(message)):
            raise type(error)(f"BigQuery: {message}") from None
        line, column = map(int, found.groups())
        raise pointed(f"BigQuery: {message}", statement, line, column) from None


def _bigquery_type(field: Any) -> Any:
    """Arrow's type of a column of BigQuery's; a text for those that Arrow does not know."""
    import pyarrow as pa

    types = {
        "INTEGER": pa.int64(), "INT64": pa.int64(), "FLOAT": pa.float64(), "FLOAT64": pa.float64(),
        "NUMERIC": pa.decimal128(38, 9), "BIGNUMERIC": pa.decimal256(76, 38), "BYTES": pa.binary(),
        "BOOLEAN": pa.bool_(), "BOOL": pa.bool_(), "DATE": pa.date32(), "TIME": pa.time64("us"),
        "DATETIME": pa.timestamp("us"), "TIMESTAMP": pa.timestamp("us", "UTC"),
    }  # fmt: skip
    if field.field_type in ("RECORD", "STRUCT"):
        found = pa.struct([(inner.name, _bigquery_type(inner)) for inner in field.fields])
    else:
        found = types.get(field.field_type, pa.string())
    return pa.list_(found) if field.mode == "REPEATED" else found


class Postgres:
    """The Postgres of this target, in one transaction for each statement."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @contextmanager
    def ask(self, statement: str, *, write: bool = False, few: int | None = None) -> Iterator[Answer]:
        """Run a statement, in a transaction that only reads unless `write`."""
        import psycopg

        with self._connections.postgres() as connection:
            _keep_exact(connection)
            connection.read_only = not write
            prefix = "" if write or not _CURSOR.match(statement) else _DECLARE
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    # Prepared: the server then takes one statement, so that none can end our transaction.
                    cursor.execute((prefix + statement.rstrip().rstrip(";")).encode(), prepare=True)
                    yield _answer(cursor, few or _PIECE, kept=bool(prefix))
            except psycopg.Error as error:
                raise _postgres_error(error, statement, len(prefix)) from None

    def tables(self) -> Mapping[str, list[str]]:
        """The tables and views that anybody has made; of partitions the table alone."""
        columns = (
            "SELECT c.relname::text, a.attname::text "
            "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE pg_table_is_visible(c.oid) AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition "
            "AND c.relnamespace <> 'pg_catalog'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped "
            "ORDER BY 1, a.attnum"
        )
        found: dict[str, list[str]] = {}
        with self._connections.postgres() as connection:
            for table, column in connection.execute(columns).fetchall():
                found.setdefault(table, []).append(column)
        return found


def _answer(cursor: psycopg.Cursor[Any], piece_rows: int, *, kept: bool) -> Answer:
    if not kept and cursor.description is None:
        return Answer((), iter(()), lambda: (), note=cursor.statusmessage or "")
    fetched = 0

    def rows() -> Iterator[Any]:
        nonlocal fetched
        while piece := cursor.execute(f"FETCH {piece_rows} FROM taxiway").fetchall():
            fetched += len(piece)
            yield from piece

    def total(_: int) -> int:
        # Counts what is left without sending it.
        return fetched + max(cursor.execute("MOVE ALL FROM taxiway").rowcount, 0)

    if not kept:
        found = cursor.fetchall()
        described = list(cursor.description or ())
        names, given, counted = [c.name for c in described], iter(found), lambda _: len(found)
    else:
        described = list(cursor.execute("FETCH 0 FROM taxiway").description or ())
        names, given, counted = [c.name for c in described], rows(), total
    return Answer(distinct(names), given, lambda: [_postgres_type(c) for c in described], counted)


def _keep_exact(connection: psycopg.Connection) -> None:
    """Have Postgres' own text where Python's value would be less: months of an interval, digits in JSON."""
    from psycopg.pq import Format
    from psycopg.types.string import TextLoader

    adapters = connection.adapters
    for name in ("interval", "json", "jsonb"):
        adapters.register_loader(name, TextLoader)
    for name in ("date", "timestamp", "timestamptz"):
        if known := adapters.get_loader(adapters.types[name].oid, Format.TEXT):
            adapters.register_loader(name, _lenient(known))


def _lenient(known: Any) -> type[Loader]:
    from psycopg import DataError
    from psycopg.adapt import Loader

    class Lenient(Loader):
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._known = known(oid, context)

        def load(self, data: Any) -> Any:
            try:
                return self._known.load(data)
            except DataError:
                return bytes(data).decode()

    return Lenient


def _postgres_type(column: Any) -> Any:
    """Arrow's type of a column of Postgres'; a text for those that Arrow does not know."""
    import psycopg
    import pyarrow as pa

    known = {
        "bool": pa.bool_(), "int2": pa.int16(), "int4": pa.int32(), "int8": pa.int64(),
        "float4": pa.float32(), "float8": pa.float64(), "date": pa.date32(), "bytea": pa.binary(),
        "time": pa.time64("us"), "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"),
    }  # fmt: skip
    found = psycopg.adapters.types.get(column.type_code)
    name = found.name if found else ""
    listed = found is not None and found.array_oid == column.type_code
    # Without a precision it has as many digits as it likes: only a text holds all of them.
    if (
        name == "numeric"
        and not listed
        and column.precision
        and 0 <= (column.scale or 0) <= column.precision <= 76
    ):
        return pa.decimal256(column.precision, column.scale or 0)
    return pa.list_(known.get(name, pa.string())) if listed else known.get(name, pa.string())


def _postgres_error(error: psycopg.Error, statement: str, skipped: int) -> Exception:
    diagnosis = error.diag
    message = f"Postgres: {diagnosis.message_primary or str(error).splitlines()[0]}"
    if diagnosis.sqlstate == "25006":
        return UsageError(f"{message}: not run", "Add --write if it is meant to.")
    if diagnosis.message_hint:
        message += f" ({diagnosis.message_hint})"
    if not diagnosis.statement_position:
        return TaxiwayError(message)
    before = statement[: int(diagnosis.statement_position) - 1 - skipped]
    line = before.count("\n") + 1
    return pointed(message, statement, line, len(before) - before.rfind("\n"))
