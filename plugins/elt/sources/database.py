"""A table or query of a database, as Parquet: one consistent snapshot, streamed, every value exactly.

A table has no bytes of its own, so its rows are written as the database writes them: whole numbers, floats
and truth values as such, all others as the text that the server makes of them. A `numeric` keeps its digits,
and what no other type could hold (infinity, the year 10000, 0000-00-00) reaches conform as what it is. The
reasons and figures are in docs/decisions/0023-reading-databases.md.

Statements are put together from quoted names, bounds of partitions, and the entry's own query.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

from elt.catalogue import Database, Dataset
from elt.connection_fields import ConnectionFields, postgres_parameters
from elt.errors import PermanentError, SettingError, SourceNotPublishedError, TransientError
from elt.periods import Period
from elt.sources.changes import is_over
from elt.sources.client import Limits, Published

if TYPE_CHECKING:
    import pyarrow as pa

# Bytes of rows that are turned into a batch at once, and of a piece of the file.
_BLOCK, _PIECE = 1 << 20, 1 << 18
_ROWS = 16_384
_PORTS = {"postgres": 5432, "mysql": 3306}
_SCHEMES = {"postgres": "postgresql", "mysql": "mysql"}


class _Engine(Protocol):
    """What kinds of servers differ in. `select` is a whole statement, `rows` a table or subquery."""

    quote: str

    def has_row(self, select: str) -> bool: ...

    def read(self, rows: str, where: str) -> _Rows: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class _Rows:
    schema: pa.Schema
    batches: Generator[tuple[pa.RecordBatch, int], None, None]
    """Each with the bytes that it came in."""


class DatabaseSource:
    """The partitions of one dataset in the database of a connection (None: it does not exist)."""

    def __init__(
        self, dataset: Dataset, found: ConnectionFields | None, limits: Limits | None = None
    ) -> None:
        if not isinstance(dataset.source, Database):
            raise TypeError(f"{dataset.name} is not of a database")
        self._dataset, self._entry = dataset, dataset.source
        self._found, self._limits = found, limits or Limits()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is kept open in between."""

    @property
    def base_url(self) -> str:
        """The database's address, without user and password; of a connection that is not there its id."""
        found = self._found
        if found is None:
            return f"database://{self._entry.connection}"
        scheme = _SCHEMES.get(found.conn_type, found.conn_type)
        port = found.port or _PORTS.get(found.conn_type, 0)
        return f"{scheme}://{found.host or 'localhost'}:{port}/{found.schema}"

    def probe(self, period: Period | None) -> Published | None:
        """Ask for one row of a partition that is over; None if there is none (yet)."""
        if not is_over(period):
            return None
        with self._engine() as engine:
            rows, where = self._rows(period, engine.quote)
            found = engine.has_row(f"SELECT 1 FROM {rows} AS q{where} LIMIT 1")  # noqa: S608
        return self._published() if found else None

    @contextmanager
    def open(self, period: Period | None) -> Iterator[Table]:
        """Read a partition into a file without a name; SourceNotPublishedError if it has no row (yet)."""
        name = self._dataset.file_name(period)
        if not is_over(period):
            raise SourceNotPublishedError(f"{name}: not published, since {period} is not over (UTC)")
        with self._engine() as engine:
            rows, where = self._rows(period, engine.quote)
            file = self._write(engine.read(rows, where), name)
        with file:
            yield Table(self._published(), file)

    def _published(self) -> Published:
        return Published(f"{self.base_url}/{self._entry.table or 'query'}", None, None, None)

    def _rows(self, period: Period | None, quote: str) -> tuple[str, str]:
        """What to read from, and the condition that makes a partition of it."""
        entry = self._entry

        def filled(template: str) -> str:
            return self._dataset.fill(template, period, zone="", separator=" ")

        rows = ".".join(quoted(name, quote) for name in entry.table.split("."))
        if entry.query:
            # On lines of its own: it may end with a comment.
            rows = f"(\n{filled(entry.query).strip().rstrip(';')}\n)"
        if period is None or not entry.cursor:
            return rows, ""
        column = f"q.{quoted(entry.cursor, quote)}"
        return rows, filled(f" WHERE {column} >= '{{start}}' AND {column} < '{{end}}'")

    def _write(self, rows: _Rows, name: str) -> BinaryIO:
        from elt.formats.parquet_writer import ParquetWriter

        names = rows.schema.names
        if double := sorted({each for each in names if names.count(each) > 1}):
            raise PermanentError(f"{name}: two columns are called {double[0]}. Rename one in the query.")
        until, count, size = time.monotonic() + self._limits.seconds, 0, 0
        # Closed at once where it is left early: the connection cannot be, as long as rows come.
        with closing(rows.batches) as batches, ParquetWriter(rows.schema) as writer:
            for batch, came in batches:
                writer.add(batch)
                count, size = count + batch.num_rows, size + came
                self._check(name, size, until)
            if not count:
                raise SourceNotPublishedError(f"{name}: not published, {self.base_url} has no row of it")
            return writer.finish()

    def _check(self, name: str, size: int, until: float) -> None:
        if size > self._limits.size:
            raise PermanentError(
                f"{name}: {size:,} bytes of rows came, and at most {self._limits.size:,} are taken. "
                "If that is right, set TAXI_MAX_FILE_BYTES to more."
            )
        if time.monotonic() > until:
            raise TransientError(
                f"{name}: {size:,} bytes of rows came in {self._limits.seconds:,.0f} s, and no more time is "
                "given. If the database is slow, set TAXI_DOWNLOAD_SECONDS to more."
            )

    def _engine(self) -> _Engine:
        connection = self._entry.connection
        if self._found is None:
            raise SettingError(
                f"there is no connection {connection}, which {self._dataset.name} is read by. Set "
                f'AIRFLOW_CONN_{connection.upper()}, like {{"conn_type": "postgres", "host": "db", '
                '"schema": "shop", "login": "reader", "password": "…"}, or create it in Airflow.'
            )
        if self._found.conn_type in ("postgres", "postgresql"):
            return _Postgres(self._found, self._limits.seconds)
        if self._found.conn_type == "mysql":
            return _MySql(self._found, self._limits.seconds)
        raise SettingError(
            f"the connection {connection} is of the type {self._found.conn_type!r}. Use postgres or mysql."
        )


class Table:
    """A partition's file, as `elt.sources.client.Transfer`: its pieces in order."""

    def __init__(self, published: Published, file: BinaryIO) -> None:
        self.published, self._file = published, file

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(_PIECE):
            yield piece


def quoted(name: str, quote: str) -> str:
    """A name as SQL has it, whatever is in it; `quote` is the database's: `"`, MySQL's is a backtick."""
    return f"{quote}{name.replace(quote, quote * 2)}{quote}"


def _described(rows: str) -> str:
    return f"SELECT * FROM {rows} AS q LIMIT 0"  # noqa: S608


class _Postgres:
    """COPY in CSV, which is one snapshot by itself and comes row by row; Arrow parses it."""

    quote = '"'
    # Whatever the server's or the role's own settings are. Rows come in the table's order each time, so that
    # unchanged rows make unchanged bytes.
    _SETTINGS: Mapping[str, str] = {
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "postgres",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "synchronize_seqscans": "off",
        "max_parallel_workers_per_gather": "0",
    }

    def __init__(self, found: ConnectionFields, seconds: float) -> None:
        from psycopg.pq import Conninfo

        from elt.stores.postgres import connect

        known = {option.keyword.decode() for option in Conninfo.get_defaults()}
        # Airflow's extra also holds what only its hook knows, such as the kind of cursor.
        parameters = {name: v for name, v in postgres_parameters(found).items() if name in known}
        self._connecting = connect(**{**parameters, "client_encoding": "utf8"})
        self._settings = {**self._SETTINGS, "statement_timeout": f"{max(1, int(seconds))}s"}

    def __enter__(self) -> Self:
        self._connection = self._connecting.__enter__()
        self._connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        for name, value in self._settings.items():
            self._connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        return self

    def __exit__(self, *error: Any) -> None:
        self._connecting.__exit__(*error)

    def has_row(self, select: str) -> bool:
        return self._execute(select).fetchone() is not None

    def read(self, rows: str, where: str) -> _Rows:
        import pyarrow as pa

        described = self._execute(_described(rows)).description or []
        kinds = {16: pa.bool_(), 21: pa.int16(), 23: pa.int32(), 20: pa.int64()}
        kinds |= {700: pa.float32(), 701: pa.float64()}
        nested = self._nested([column.type_code for column in described])
        schema = pa.schema(
            [pa.field(column.name, kinds.get(column.type_code, pa.string())) for column in described]
        )
        selected = ", ".join(
            f"to_json(q.{name})" if column.type_code in nested else f"q.{name}"
            for column in described
            for name in [quoted(column.name, self.quote)]
        )
        select = f"SELECT {selected} FROM {rows} AS q{where}"  # noqa: S608
        return _Rows(schema, self._batches(f"COPY ({select}) TO STDOUT (FORMAT csv)", schema))

    def _nested(self, types: list[int]) -> set[int]:
        """The types whose text only Postgres can read, and that have one in JSON: arrays and rows."""
        query = "SELECT oid FROM pg_type WHERE oid = ANY(%s) AND (typcategory = 'A' OR typtype = 'c')"
        return {int(oid) for (oid,) in self._connection.execute(query, [types])}

    def _batches(
        self, statement: str, schema: pa.Schema
    ) -> Generator[tuple[pa.RecordBatch, int], None, None]:
        count = 0
        with self._connection.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                # The server sends each row as a message of its own, so a block ends where a row does.
                for block in _blocks(copy):
                    for batch in _parsed(block, schema):
                        count += batch.num_rows
                        yield batch, len(block)
                        block = b""
            if count != cursor.rowcount:
                raise PermanentError(
                    f"Postgres sent {cursor.rowcount:,} rows and {count:,} were read. "
                    "This is a defect of the reader: please report it."
                )

    def _execute(self, statement: str) -> Any:
        return self._connection.execute(statement.encode())


def _blocks(pieces: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _parsed(block: bytes, schema: pa.Schema) -> list[pa.RecordBatch]:
    """Rows as Postgres writes them: null is nothing at all, the empty text is quoted."""
    import pyarrow as pa
    import pyarrow.csv

    table = pa.csv.read_csv(
        pa.BufferReader(block),
        read_options=pa.csv.ReadOptions(
            column_names=schema.names, use_threads=False, block_size=len(block) + 1
        ),
        # A row of one column that is null is an empty line.
        parse_options=pa.csv.ParseOptions(newlines_in_values=b'"' in block, ignore_empty_lines=False),
        convert_options=pa.csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
            # Of a database that does not check it either; conform does.
            check_utf8=False,
        ),
    )
    batches: list[pa.RecordBatch] = table.to_batches()
    return batches


class _MySql:
    """An unbuffered cursor in a consistent snapshot; values as the texts that the server sends."""

    quote = "`"
    # Codes of the protocol. Whole numbers of eight bytes may be unsigned: they stay texts.
    _INTEGERS, _FLOAT, _DOUBLE, _TIMESTAMP, _BIT = (1, 2, 3, 9, 13), 4, 5, 7, 16
    # Too many connections, shutdown, lock, deadlock, interrupted, out of time (twice). Those from 2000 to
    # 3000 are of the connection.
    _PASSING = (1040, 1053, 1205, 1213, 1317, 1969, 3024)

    def __init__(self, found: ConnectionFields, seconds: float) -> None:
        try:
            import pymysql
            from pymysql import converters, cursors
        except ModuleNotFoundError:
            raise SettingError(
                "MySQL is read by the package pymysql, which is not installed. Add it: "
                ".tools/uv/bin/uv sync --frozen --inexact --group mysql"
            ) from None
        self._pymysql = pymysql
        self._parameters: dict[str, Any] = {
            "host": found.host or "localhost",
            "port": found.port or _PORTS["mysql"],
            "user": found.login,
            "password": found.password,
            "database": found.schema or None,
            "charset": "utf8mb4",
            # None of the decoders: they round, and make None of 0000-00-00.
            "conv": converters.encoders,
            "cursorclass": cursors.SSCursor,
            "connect_timeout": 10,
            "read_timeout": max(1, int(seconds)),
            "program_name": "taxiway",
            **{name: found.extra[name] for name in ("ssl", "unix_socket") if name in found.extra},
        }

    def __enter__(self) -> Self:
        with self._errors():
            self._connection: Any = self._pymysql.connect(**self._parameters)
            try:
                self._execute("SET SESSION time_zone = '+00:00'")
                self._execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                self._execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        # Not by way of the cursor, which would first receive all rows that are left.
        self._connection.close()

    def has_row(self, select: str) -> bool:
        with self._errors():
            return bool(self._execute(select).fetchall())

    def read(self, rows: str, where: str) -> _Rows:
        import pyarrow as pa

        with self._errors():
            cursor = self._execute(_described(rows))
            columns = [(name, kind) for name, kind, *_ in cursor.description]
            cursor.fetchall()
        kinds = dict.fromkeys(self._INTEGERS, pa.int64())
        kinds |= {self._FLOAT: pa.float64(), self._DOUBLE: pa.float64()}
        schema = pa.schema([pa.field(name, kinds.get(kind, pa.string())) for name, kind in columns])
        # A FLOAT is written with six digits only, unless it is made a DOUBLE.
        selected = ", ".join(
            f"q.{column} + 0e0" if kind == self._FLOAT else f"q.{column}"
            for name, kind in columns
            for column in [quoted(name, self.quote)]
        )
        statement = f"SELECT {selected} FROM {rows} AS q{where}"  # noqa: S608
        return _Rows(schema, self._batches(statement, schema, [kind for _, kind in columns]))

    def _batches(
        self, statement: str, schema: pa.Schema, kinds: list[int]
    ) -> Generator[tuple[pa.RecordBatch, int], None, None]:
        import pyarrow as pa

        def batch(rows: list[tuple[str | bytes | None, ...]]) -> pa.RecordBatch:
            texts = [
                pa.array([_mysql_text(value, kind) for value in values], pa.string())
                for values, kind in zip(zip(*rows, strict=True), kinds, strict=True)
            ]
            arrays = [text.cast(field.type) for text, field in zip(texts, schema, strict=True)]
            return pa.RecordBatch.from_arrays(arrays, schema=schema)

        with self._errors():
            cursor = self._execute(statement)
            rows, size = list[tuple[str | bytes | None, ...]](), 0
            while row := cursor.fetchone():
                rows.append(row)
                size += sum(len(value) for value in row if value)
                if size >= _BLOCK or len(rows) >= _ROWS:
                    yield batch(rows), size
                    rows, size = [], 0
            if rows:
                yield batch(rows), size

    def _execute(self, statement: str) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement)
        return cursor

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._pymysql.MySQLError as error:
            # The classes do not tell: a column that is given twice is an OperationalError, too.
            number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            passing = number < 1000 or 2000 <= number < 3000 or number in self._PASSING
            raise (TransientError if passing else PermanentError)(f"MySQL: {_said(error)}") from None


def _mysql_text(value: str | bytes | None, kind: int) -> str | None:
    if isinstance(value, bytes):
        # As Postgres writes bytes.
        return str(int.from_bytes(value)) if kind == _MySql._BIT else rf"\x{value.hex()}"
    # The session is in UTC, which the text does not say.
    return f"{value}Z" if value is not None and kind == _MySql._TIMESTAMP else value


def _said(error: Exception) -> str:
    """The server's sentence, without the number before it."""
    return " ".join(str(error.args[-1] if error.args else error).split())[:300]
