"""Postgres: a month is a partition, filled beside the table and swapped in with one commit."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import pgpq
import psycopg
from psycopg import sql

from elt.catalogue import Column, Dataset, Type
from elt.conforming.schema import typed_schema
from elt.conforming.stream import Parts
from elt.errors import PermanentError, TransientError, first_line
from elt.formats.prefetch import prefetch
from elt.layout import digest, identifier, incoming_table, partition_table
from elt.months import Month
from elt.stores import MONTH_COLUMN

TYPES: Mapping[Type, str] = {
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float64": "double precision",
    "numeric": "numeric",
    "string": "text",
    "date": "date",
    "datetime": "timestamp",
    "timestamp": "timestamptz",
    "bool": "boolean",
}
# A swap waits for the readers of the table, and everybody else waits behind it: not for ever.
LOCK_TIMEOUT = "30s"
# A server that is gone without a word is noticed after a minute; libpq would wait two hours.
_PATIENCE: Mapping[str, int] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# The encoder needs several times the memory of what it is given.
PIECE_ROWS = 4_096


@contextmanager
def connect(**parameters: Any) -> Iterator[psycopg.Connection]:
    """Open a connection by libpq's parameters, in autocommit; within it psycopg's errors become ours."""
    with errors():
        wanted = {"application_name": "taxiway", **_PATIENCE, **parameters}
        with psycopg.connect(autocommit=True, **wanted) as connection:
            connection.execute(sql.SQL("SET lock_timeout = {}").format(LOCK_TIMEOUT))
            yield connection


@contextmanager
def errors() -> Iterator[None]:
    """Turn psycopg's errors into TransientError (the service) or PermanentError (a statement)."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise TransientError(f"Postgres: {first_line(error)}") from None
    except psycopg.Error as error:
        raise PermanentError(f"Postgres: {first_line(error)}") from None


def load(
    connection: psycopg.Connection, parts: Parts, ds: Dataset, month: Month | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Replace a month (or all of a dataset without months) by `parts`, visible at once or not at all.

    `about` describes the source; returned, and kept as the partition's comment, together with the counts.
    """
    ensure_table(connection, ds)
    incoming = incoming_table(ds, month, str(about["run_id"]))
    with connection.transaction():
        connection.execute(_create(incoming, ds, month))
        _copy(connection, incoming, parts, ds)
        parts.refuse_if_empty()
        # Counts are complete only now that all parts have passed.
        about = {**about, "rows": parts.rows, "quarantined": parts.quarantined}
        # After the rows, not before: whoever loads another month of this table copies beside us.
        _lock(connection, ds.table)
        if month is None:
            _replace_rows(connection, incoming, ds)
        else:
            _swap(connection, incoming, ds, month)
        described = sql.SQL("COMMENT ON TABLE {} IS {}")
        partition = sql.Identifier(partition_table(ds, month))
        connection.execute(described.format(partition, json.dumps(about)))
    return about


def loaded(connection: psycopg.Connection, ds: Dataset, month: Month | None) -> dict[str, Any] | None:
    """What `load` noted about a month that is there; None if it is not."""
    query = "SELECT obj_description(to_regclass(%s), 'pg_class')"
    found = connection.execute(query, [partition_table(ds, month)]).fetchone()
    if found is None or found[0] is None or not found[0].startswith("{"):
        return None
    about: dict[str, Any] = json.loads(found[0])
    return about


def count(
    connection: psycopg.Connection, ds: Dataset, months: Collection[Month] | None = None
) -> dict[Month | None, int]:
    """Rows by month (None for a dataset without months), counted in the table; `months`: of these only."""
    if connection.execute("SELECT to_regclass(%s)", [ds.table]).fetchone() == (None,):
        return {}
    table = sql.Identifier(ds.table)
    if not ds.monthly:
        found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        return {None: found[0]} if found and found[0] else {}
    days = None if months is None else [month.first_day() for month in months]
    text = "SELECT source_month, count(*) FROM {} WHERE {} GROUP BY 1"
    condition = sql.SQL("TRUE" if months is None else "source_month = ANY(%(days)s::date[])")
    query = sql.SQL(text).format(table, condition)
    return {Month.of(day): rows for day, rows in connection.execute(query, {"days": days}).fetchall()}


def ensure_table(connection: psycopg.Connection, ds: Dataset) -> None:
    """Create a dataset's table; PermanentError if there is one with another schema."""
    # CREATE TABLE IF NOT EXISTS fails when two do it at once.
    with alone(connection, ds.table):
        present, wanted = _present(connection, ds), _wanted(ds)
        if present == wanted:
            return
        if present:
            differing = sorted(name for name, _ in wanted.items() ^ present.items())
            raise PermanentError(
                f"Postgres: table {ds.table} is not as the catalogue says "
                f"({', '.join(dict.fromkeys(differing))}). Drop it or alter it, then load again."
            )
        defined = sql.SQL(", ").join(_define(column) for column in _columns(ds))
        by_month = sql.SQL("PARTITION BY LIST (source_month)" if ds.monthly else "")
        table = sql.Identifier(identifier(ds.table))
        connection.execute(sql.SQL("CREATE TABLE {} ({}) {}").format(table, defined, by_month))
        connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, ds.title))
        for column in _columns(ds):
            name = sql.Identifier(ds.table, column.name)
            connection.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(name, column.described))


def is_as_described(connection: psycopg.Connection, ds: Dataset) -> bool:
    """Whether a dataset's table is there, with the catalogue's columns."""
    return _present(connection, ds) == _wanted(ds)


def _present(connection: psycopg.Connection, ds: Dataset) -> dict[str, str]:
    query = (
        "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
    )
    return dict(connection.execute(query, [ds.table]).fetchall())


def _wanted(ds: Dataset) -> dict[str, str]:
    full = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}
    types = {column.name: TYPES[column.type] for column in _columns(ds)}
    return {name: full.get(kind, kind) for name, kind in types.items()}


def _columns(ds: Dataset) -> tuple[Column, ...]:
    return (MONTH_COLUMN, *ds.columns) if ds.monthly else ds.columns


def _define(column: Column) -> sql.Composable:
    required = " NOT NULL" if column is MONTH_COLUMN else ""
    return sql.SQL("{} {}").format(
        sql.Identifier(identifier(column.name)),
        sql.SQL(TYPES[column.type] + required),
    )


def _create(incoming: str, ds: Dataset, month: Month | None) -> sql.Composed:
    """CREATE TABLE for a table like the dataset's. Not LIKE, which would lock that one until the commit."""
    defined: list[sql.Composable] = [_define(column) for column in ds.columns]
    if month is not None:
        # The default spares sending the month with each row, the check spares ATTACH a scan.
        text = "source_month date NOT NULL DEFAULT {0} CHECK (source_month = {0}::date)"
        defined.append(sql.SQL(text).format(str(month.first_day())))
    return sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(incoming), sql.SQL(", ").join(defined))


def _copy(connection: psycopg.Connection, incoming: str, parts: Parts, ds: Dataset) -> None:
    def encoded() -> Iterator[bytes]:
        encoder = pgpq.ArrowToPostgresBinaryEncoder(typed_schema(ds))
        yield encoder.write_header()
        for part in parts:
            for start in range(0, part.typed.num_rows, PIECE_ROWS):
                yield encoder.write_batch(part.typed.slice(start, PIECE_ROWS))
        yield encoder.finish()

    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in ds.columns)
    # The table is of this very transaction: its rows may be frozen, and need no WAL if wal_level is minimal.
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY, FREEZE)").format(
        sql.Identifier(incoming), names
    )
    # The next batch is encoded while the server takes this one in.
    cursor = connection.cursor()  # kept: it knows how many rows the server has taken
    with cursor.copy(statement) as copy, closing(prefetch(encoded(), 2)) as pieces:
        for piece in pieces:
            copy.write(piece)
    if cursor.rowcount != parts.rows:
        raise PermanentError(f"Postgres: {incoming} took {cursor.rowcount:,} of {parts.rows:,} rows.")


@contextmanager
def alone(connection: psycopg.Connection, name: str) -> Iterator[None]:
    """A transaction that no other of this name runs beside."""
    with connection.transaction():
        _lock(connection, name)
        yield


def _lock(connection: psycopg.Connection, name: str) -> None:
    """Make this transaction the only one that changes what is called so."""
    # 40 bits of a digest: an advisory lock has a number for a name.
    key = int(digest(f"taxiway/{name}"), 16)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [key])


def _swap(connection: psycopg.Connection, incoming: str, ds: Dataset, month: Month) -> None:
    table, old, new = (sql.Identifier(name) for name in (ds.table, partition_table(ds, month), incoming))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(old))
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(new, old))
    attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})")
    connection.execute(attach.format(table, old, str(month.first_day())))


def _replace_rows(connection: psycopg.Connection, incoming: str, ds: Dataset) -> None:
    """Replace a small table's rows, so that views upon it stay."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in ds.columns)
    table, new = sql.Identifier(ds.table), sql.Identifier(incoming)
    connection.execute(sql.SQL("DELETE FROM {}").format(table))
    connection.execute(sql.SQL("INSERT INTO {0} ({2}) SELECT {2} FROM {1}").format(table, new, names))
    connection.execute(sql.SQL("DROP TABLE {}").format(new))
