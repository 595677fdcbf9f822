"""A psycopg connection to a Postgres in memory, as far as the library's statements go.

It keeps tables with their columns, partitions, comments and rows, undoes what a transaction did that fails,
and reads COPY's binary format.
"""

import copy
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

FULL = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}


@dataclass
class Table:
    """A table or view. `dropped` are columns that ALTER TABLE … DROP COLUMN has left in the catalogue."""

    columns: dict[str, str] = field(default_factory=dict)
    comment: str | None = None
    comments: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[bytes | None, ...]] = field(default_factory=list)
    partitions: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    definition: str = ""


class Found:
    """What a statement returns."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


class FakePostgres:
    """The connection; `statements` are those it had. COPY loses the last `lost` rows it is sent.

    A statement that contains a key of `faults` raises what is there.
    """

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.statements: list[str] = []
        self.faults: dict[str, Exception] = {}
        self.lost = 0

    def execute(self, statement: Any, values: Any = None) -> Found:
        text = statement if isinstance(statement, str) else statement.as_string(None)
        self.statements.append(text)
        for key, fault in self.faults.items():
            if key in text:
                raise fault
        for pattern, act in self._ACTS.items():
            if found := re.match(pattern, text, re.DOTALL):
                return Found(act(self, *found.groups(), values) or [])
        raise AssertionError(f"the fake has no such statement: {text}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        before = copy.deepcopy(self.tables)
        try:
            yield
        except BaseException:
            self.tables = before
            raise

    def cursor(self) -> "FakeCursor":
        return FakeCursor(self)

    def count(self, name: str) -> int:
        """Rows of a table, those of its partitions included."""
        table = self.tables[name]
        return len(table.rows) + sum(self.count(part) for part in table.partitions.values())

    def _regclass(self, values: list[str]) -> list[tuple[Any, ...]]:
        return [(values[0] if values[0] in self.tables else None,)]

    def _comment(self, values: list[str]) -> list[tuple[Any, ...]]:
        table = self.tables.get(values[0])
        return [(table.comment if table else None,)]

    def _attributes(self, condition: str, values: list[str]) -> list[tuple[Any, ...]]:
        table = self.tables.get(values[0])
        if table is None:
            return []
        hidden = [] if "NOT attisdropped" in condition else [(name, "-") for name in table.dropped]
        return [(name, FULL.get(kind, kind)) for name, kind in table.columns.items()] + hidden

    def _create(self, name: str, columns: str, _: Any) -> None:
        if name in self.tables:
            raise psycopg.errors.DuplicateTable(f'relation "{name}" already exists')
        kinds = re.findall(r'(?:^|, )"?(\w+)"? (\w+(?: precision)?)', columns.replace(" NOT NULL", ""))
        self.tables[name] = Table(dict(kinds))

    def _describe(self, name: str, text: str, _: Any) -> None:
        self.tables[name].comment = text.replace("''", "'")

    def _describe_column(self, table: str, column: str, text: str, _: Any) -> None:
        self.tables[table].comments[column] = text.replace("''", "'")

    def _drop(self, kind: str, name: str, _: Any) -> None:
        if self.tables.pop(name, None) is None and "IF EXISTS" not in kind:
            raise psycopg.errors.UndefinedTable(name)
        for table in self.tables.values():
            table.partitions = {day: part for day, part in table.partitions.items() if part != name}

    def _rename(self, old: str, new: str, _: Any) -> None:
        self.tables[new] = self.tables.pop(old)

    def _attach(self, table: str, part: str, day: str, _: Any) -> None:
        self.tables[table].partitions[day] = part

    def _insert(self, table: str, _: Any) -> None:
        self.tables[table[0]].rows += self.tables[table[1]].rows

    def _view(self, name: str, query: str, _: Any) -> None:
        present = self.tables.get(name)
        if present and present.definition == "other columns":
            raise psycopg.errors.InvalidTableDefinition("cannot drop columns from view")
        self.tables[name] = Table(comment=present.comment if present else None, definition=query)

    def _by_month(self, table: str, values: Any) -> list[tuple[Any, ...]]:
        import datetime as dt

        parts = self.tables[table].partitions
        counted = {dt.date.fromisoformat(day): self.count(part) for day, part in parts.items()}
        wanted = (values or {}).get("starts")
        return [(day, rows) for day, rows in counted.items() if wanted is None or day in wanted]

    _ACTS = {  # noqa: RUF012 - not changed
        r"SET lock_timeout|SELECT pg_advisory_xact_lock": lambda _, __: [],
        r"SELECT to_regclass\(%s\)$": _regclass,
        r"SELECT obj_description\(to_regclass": _comment,
        r"SELECT attname.*attnum > 0(.*)$": _attributes,
        r'CREATE TABLE "(\w+)" \((.*)\)': _create,
        r"""COMMENT ON (?:TABLE|VIEW) "(\w+)" IS '(.*)'$""": _describe,
        r"""COMMENT ON COLUMN "(\w+)"\."(\w+)" IS '(.*)'$""": _describe_column,
        r'DROP ((?:TABLE|VIEW)(?: IF EXISTS)?) "(\w+)"': _drop,
        r'ALTER TABLE "(\w+)" RENAME TO "(\w+)"': _rename,
        r"""ALTER TABLE "(\w+)" ATTACH PARTITION "(\w+)" FOR VALUES IN \('(.*)'\)""": _attach,
        r'DELETE FROM "(\w+)"': lambda self, name, _: self.tables[name].rows.clear(),
        r'INSERT INTO "(\w+)" .* FROM "(\w+)"': lambda self, to, of, _: self._insert((to, of), None),
        r'CREATE OR REPLACE VIEW "(\w+)" AS (.*)': _view,
        r'SELECT "source_month", count\(\*\) FROM "(\w+)"': _by_month,
        r'SELECT count\(\*\) FROM "(\w+)"': lambda self, name, _: [(self.count(name),)],
    }


class FakeCursor:
    """A cursor that COPY runs on; `rowcount` is how many rows the server says that it took."""

    def __init__(self, database: FakePostgres) -> None:
        self._database = database
        self.rowcount = -1

    @contextmanager
    def copy(self, statement: Any) -> Iterator["FakeCursor"]:
        text = statement.as_string(None)
        self._database.statements.append(text)
        self._content = bytearray()
        yield self
        name = re.match(r'COPY "(\w+)"', text)[1]
        rows = list(_tuples(bytes(self._content)))
        self.rowcount = len(rows) - self._database.lost
        self._database.tables[name].rows += rows[: self.rowcount]

    def write(self, piece: bytes) -> None:
        self._content += piece


def _tuples(content: bytes) -> Iterator[tuple[bytes | None, ...]]:
    """Rows of COPY's binary format: a header, then fields with their lengths, then -1."""
    assert content[:11] == b"PGCOPY\n\xff\r\n\0"
    at = 19
    while (fields := struct.unpack_from(">h", content, at)[0]) != -1:
        at, row = at + 2, []
        for _ in range(fields):
            size = struct.unpack_from(">i", content, at)[0]
            row.append(content[at + 4 : at + 4 + size] if size >= 0 else None)
            at += 4 + max(size, 0)
        yield tuple(row)
