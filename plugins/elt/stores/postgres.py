"""Postgres: a month or a year is a table, filled beside the dataset's and swapped in with one commit.

Days and hours share the table of their month, in which one transaction replaces the rows of one of them.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import pgpq
import psycopg
import pyarrow as pa
from psycopg import sql

from elt.catalogue import Column, Dataset, Type
from elt.catalogue.model import PERIOD_COLUMNS
from elt.conforming.schema import ARROW, typed_schema
from elt.conforming.stream import Parts
from elt.errors import PermanentError, TransientError, first_line
from elt.formats.prefetch import prefetch
from elt.layout import digest, identifier, incoming_table, partition_table
from elt.periods import KINDS, Month, Period
from elt.stores import period_column, period_value
from elt.stores.describing import with_source

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
    connection: psycopg.Connection, parts: Parts, ds: Dataset, period: Period | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Replace a period (or all of a dataset without periods) by `parts`, visible at once or not at all.

    `about` describes the source; returned, and kept together with the counts: as the comment of the period's
    table, or in `period_loads` if that table is shared with other periods.
    """
    ensure_table(connection, ds)
    if period is not None and is_shared(ds):
        return _load_among(connection, parts, ds, period, about)
    incoming = incoming_table(ds, period, str(about["run_id"]))
    with connection.transaction():
        connection.execute(_create(incoming, ds, period))
        # The table is of this transaction: rows may be frozen, and need no WAL if wal_level is minimal.
        _copy(connection, incoming, parts, None, "FREEZE")
        # Counts are complete only now that all parts have passed.
        about = _counted(parts, about)
        # After the rows, not before: whoever loads another period of this table copies beside us.
        _lock(connection, ds.table)
        if period is None:
            _replace_rows(connection, incoming, ds)
        else:
            _swap(connection, incoming, ds, period)
        # Clients show it beside the table: first what a person reads, then what `loaded` does.
        of = with_source(f"{ds.title}, {period}" if period else None, ds, about.get("source"))
        if period is not None:
            _note_source(connection, ds, ds.table, about)
        _describe(connection, partition_table(ds, period), f"{of}\n{json.dumps(about)}")
    return dict(about)


def is_shared(ds: Dataset) -> bool:
    """Whether several periods of a dataset are in one table of Postgres (see `layout.partition_table`)."""
    return ds.every in ("day", "hour")


def _load_among(
    connection: psycopg.Connection, parts: Parts, ds: Dataset, period: Period, about: Mapping[str, Any]
) -> dict[str, Any]:
    table, column = partition_table(ds, period), sql.Identifier(period_column(period.grain).name)
    _ensure_shared(connection, ds, period, table)
    with alone(connection, f"{ds.table} {period}"):
        remove = sql.SQL("DELETE FROM {} WHERE {} = %s").format(sql.Identifier(table), column)
        connection.execute(remove, [period_value(period)])
        _copy(connection, table, parts, period)
        about = _counted(parts, about)
        connection.execute(
            "INSERT INTO period_loads VALUES (%s, %s, %s) "
            "ON CONFLICT (of_table, period) DO UPDATE SET about = EXCLUDED.about",
            [table, str(period), json.dumps(about)],
        )
        for shared in (ds.table, table):
            _note_source(connection, ds, shared, about)
    return dict(about)


def _note_source(connection: psycopg.Connection, ds: Dataset, table: str, about: Mapping[str, Any]) -> None:
    """Add a source to what a table of several periods says its rows are from, unless it says so."""
    found = connection.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", [table]).fetchone()
    present = found[0] if found else None
    text = with_source(present, ds, about.get("source"))
    if text != present:
        _describe(connection, identifier(table), text)


def _describe(connection: psycopg.Connection, table: str, text: str) -> None:
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(table), text))


def _counted(parts: Parts, about: Mapping[str, Any]) -> Mapping[str, Any]:
    parts.refuse_if_empty()
    return {**about, "rows": parts.rows, "quarantined": parts.quarantined}


def loaded(connection: psycopg.Connection, ds: Dataset, period: Period | None) -> dict[str, Any] | None:
    """What `load` noted about a period that is there; None if it is not."""
    table = partition_table(ds, period)
    query, given = "SELECT obj_description(to_regclass(%s), 'pg_class')", [table]
    if is_shared(ds):
        if connection.execute("SELECT to_regclass('period_loads')").fetchone() == (None,):
            return None
        # Whoever drops the table drops what is known about it.
        noted = "SELECT about FROM period_loads WHERE of_table = %s AND period = %s"
        query = f"{noted} AND to_regclass(%s) IS NOT NULL"
        given = [table, str(period), table]
    found = connection.execute(query, given).fetchone()
    text = str(found[0] or "").rpartition("\n")[2] if found else ""
    return dict(json.loads(text)) if text.startswith("{") else None


def count(
    connection: psycopg.Connection, ds: Dataset, periods: Collection[Period] | None = None
) -> dict[Period | None, int]:
    """Rows by period (None for a dataset without periods), counted; `periods`: of these only."""
    if connection.execute("SELECT to_regclass(%s)", [ds.table]).fetchone() == (None,):
        return {}
    table = sql.Identifier(ds.table)
    if not ds.every:
        found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        return {None: found[0]} if found and found[0] else {}
    column = period_column(ds.every)
    text = "SELECT {0}, count(*) FROM {1} WHERE {0} = ANY(%(starts)s::{2}[]) GROUP BY 1"
    if periods is None:
        text = "SELECT {0}, count(*) FROM {1} GROUP BY 1"
    query = sql.SQL(text).format(sql.Identifier(column.name), table, sql.SQL(TYPES[column.type]))
    given = None if periods is None else {"starts": [period_value(period) for period in periods]}
    counted = connection.execute(query, given).fetchall()
    return {KINDS[ds.every].of(start): rows for start, rows in counted}


def ensure_table(connection: psycopg.Connection, ds: Dataset) -> None:
    """Create a dataset's table; PermanentError if there is one with another schema."""
    # CREATE TABLE IF NOT EXISTS fails when two do it at once.
    with alone(connection, ds.table):
        present, wanted = present_columns(connection, ds), wanted_columns(ds)
        if present == wanted:
            return
        if present:
            differing = sorted(name for name, _ in wanted.items() ^ present.items())
            raise PermanentError(
                f"Postgres: table {ds.table} is not as the catalogue says "
                f"({', '.join(dict.fromkeys(differing))}). See what to do: scripts/schema {ds.name}"
            )
        defined = sql.SQL(", ").join(_define(column) for column in _columns(ds))
        by: sql.Composable = sql.SQL("")
        if ds.every:
            way = "RANGE" if is_shared(ds) else "LIST"
            by = sql.SQL(f"PARTITION BY {way} ({{}})").format(sql.Identifier(ds.period_column))
        table = sql.Identifier(identifier(ds.table))
        connection.execute(sql.SQL("CREATE TABLE {} ({}) {}").format(table, defined, by))
        _describe(connection, identifier(ds.table), ds.title)
        for column in _columns(ds):
            name = sql.Identifier(ds.table, column.name)
            connection.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(name, column.described))


def is_as_described(connection: psycopg.Connection, ds: Dataset) -> bool:
    """Whether a dataset's table is there, with the catalogue's columns."""
    return present_columns(connection, ds) == wanted_columns(ds)


def present_columns(connection: psycopg.Connection, ds: Dataset) -> dict[str, str]:
    """Columns and types of a dataset's table, as Postgres calls them; none if there is no table."""
    query = (
        "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
    )
    return dict(connection.execute(query, [ds.table]).fetchall())


def wanted_columns(ds: Dataset) -> dict[str, str]:
    """Columns and types that it should have."""
    full = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}
    types = {column.name: TYPES[column.type] for column in _columns(ds)}
    return {name: full.get(kind, kind) for name, kind in types.items()}


def used_by_views(connection: psycopg.Connection, ds: Dataset) -> dict[str, list[str]]:
    """Views over a dataset's table, by the column that they use."""
    query = (
        "SELECT attname::text, array_agg(DISTINCT view.relname::text ORDER BY view.relname::text) "
        "FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid "
        "JOIN pg_class AS view ON view.oid = pg_rewrite.ev_class "
        "JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid "
        "WHERE classid = 'pg_rewrite'::regclass AND refobjid = to_regclass(%s) GROUP BY 1"
    )
    return dict(connection.execute(query, [ds.table]).fetchall())


@contextmanager
def without_views(connection: psycopg.Connection, names: Collection[str]) -> Iterator[None]:
    """Drop views and make them again, in a transaction of the caller's; without their comments."""
    definitions = {}
    for name in names:
        found = connection.execute("SELECT pg_get_viewdef(to_regclass(%s))", [name]).fetchone()
        definitions[name] = str(found[0]) if found else ""
        connection.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(name)))
    yield
    for name, text in definitions.items():
        create = sql.SQL("CREATE VIEW {} AS {}").format(sql.Identifier(name), sql.SQL(text))
        connection.execute(create)


def _columns(ds: Dataset) -> tuple[Column, ...]:
    return (period_column(ds.every), *ds.columns) if ds.every else ds.columns


def _define(column: Column) -> sql.Composable:
    # No column of an entry has the name of one that the library adds.
    required = " NOT NULL" if column.name in PERIOD_COLUMNS.values() else ""
    return sql.SQL("{} {}").format(
        sql.Identifier(identifier(column.name)),
        sql.SQL(TYPES[column.type] + required),
    )


def _create(incoming: str, ds: Dataset, period: Period | None) -> sql.Composed:
    """CREATE TABLE for a table like the dataset's. Not LIKE, which would lock that one until the commit."""
    defined: list[sql.Composable] = [_define(column) for column in ds.columns]
    if period is not None:
        # The default spares sending the period with each row, the check spares ATTACH a scan.
        text = "{0} date NOT NULL DEFAULT {1} CHECK ({0} = {1}::date)"
        column = sql.Identifier(period_column(period.grain).name)
        defined.append(sql.SQL(text).format(column, str(period.first_day())))
    return sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(incoming), sql.SQL(", ").join(defined))


def _ensure_shared(connection: psycopg.Connection, ds: Dataset, period: Period, name: str) -> None:
    """Create the table of the month that a day or an hour is in."""
    with alone(connection, "period_loads"):
        connection.execute(
            "CREATE TABLE IF NOT EXISTS period_loads "
            "(of_table text, period text, about text NOT NULL, PRIMARY KEY (of_table, period))"
        )
    with alone(connection, ds.table):
        if connection.execute("SELECT to_regclass(%s)", [name]).fetchone() != (None,):
            return
        column = period_column(period.grain)
        month = Month.of(period.start)
        values = {
            "table": sql.Identifier(name),
            "column": sql.Identifier(column.name),
            "columns": sql.SQL(", ").join(_define(each) for each in _columns(ds)),
            "whole": sql.Identifier(ds.table),
            "start": str(month.start),
            "end": str(month.end),
        }
        for text in (
            # The check spares ATTACH a scan; the index finds the rows that a reload replaces, and is tiny.
            "CREATE TABLE {table} ({columns}, CHECK ({column} >= {start} AND {column} < {end}))",
            "CREATE INDEX ON {table} USING brin ({column})",
            "ALTER TABLE {whole} ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({end})",
        ):
            connection.execute(sql.SQL(text).format(**values))


def _copy(
    connection: psycopg.Connection, table: str, parts: Parts, period: Period | None, option: str = ""
) -> None:
    """Copy rows into a table; with a period they get its column, which the table has no default for."""
    schema = typed_schema(parts.ds)
    if period is not None:
        column = period_column(period.grain)
        start = pa.scalar(period_value(period), ARROW[column.type])
        schema = schema.append(pa.field(column.name, start.type))

    def encoded() -> Iterator[bytes]:
        encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
        yield encoder.write_header()
        for part in parts:
            for first in range(0, part.typed.num_rows, PIECE_ROWS):
                piece = part.typed.slice(first, PIECE_ROWS)
                if period is not None:
                    arrays = [*piece.columns, pa.repeat(start, piece.num_rows)]
                    piece = pa.RecordBatch.from_arrays(arrays, schema=schema)
                yield encoder.write_batch(piece)
        yield encoder.finish()

    names = sql.SQL(", ").join(sql.Identifier(name) for name in schema.names)
    statement = sql.SQL(f"COPY {{}} ({{}}) FROM STDIN (FORMAT BINARY{option and f', {option}'})").format(
        sql.Identifier(table), names
    )
    # The next batch is encoded while the server takes this one in.
    cursor = connection.cursor()  # kept: it knows how many rows the server has taken
    with cursor.copy(statement) as copy, closing(prefetch(encoded(), 2)) as pieces:
        for piece in pieces:
            copy.write(piece)
    if cursor.rowcount != parts.rows:
        raise PermanentError(f"Postgres: {table} took {cursor.rowcount:,} of {parts.rows:,} rows.")


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


def _swap(connection: psycopg.Connection, incoming: str, ds: Dataset, period: Period) -> None:
    table, old, new = (sql.Identifier(name) for name in (ds.table, partition_table(ds, period), incoming))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(old))
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(new, old))
    attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})")
    connection.execute(attach.format(table, old, str(period.first_day())))


def _replace_rows(connection: psycopg.Connection, incoming: str, ds: Dataset) -> None:
    """Replace a small table's rows, so that views upon it stay."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in ds.columns)
    table, new = sql.Identifier(ds.table), sql.Identifier(incoming)
    connection.execute(sql.SQL("DELETE FROM {}").format(table))
    connection.execute(sql.SQL("INSERT INTO {0} ({2}) SELECT {2} FROM {1}").format(table, new, names))
    connection.execute(sql.SQL("DROP TABLE {}").format(new))
