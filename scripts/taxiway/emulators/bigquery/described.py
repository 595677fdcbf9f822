"""Views by which tools read a dataset's catalogue, such as `dbt docs generate`.

BigQuery: `__TABLES__` has a row for each table, INFORMATION_SCHEMA.COLUMN_FIELD_PATHS one for each field at
any depth. Library: it takes the first for a table, and does not know the second; columns of
MATERIALIZED_VIEWS have no names where a dataset has none; and it fails where INFORMATION_SCHEMA is quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from bqemulator.sql.rewriter import information_schema
from bqemulator.sql.rewriter.information_schema import _render_data_type
from sqlglot import exp

TABLES = {
    "project_id": "STRING", "dataset_id": "STRING", "table_id": "STRING", "creation_time": "INT64",
    "last_modified_time": "INT64", "row_count": "INT64", "size_bytes": "INT64", "type": "INT64",
}  # fmt: skip
FIELD_PATHS = {
    "table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING", "column_name": "STRING",
    "field_path": "STRING", "data_type": "STRING", "description": "STRING",
}  # fmt: skip
KINDS = {"VIEW": 2, "EXTERNAL": 3}
# Its own patterns want INFORMATION_SCHEMA unquoted, and leave half a quotation of other forms.
_QUOTED = re.compile(r"`INFORMATION_SCHEMA`?\s*\.\s*`?(\w+)`", re.IGNORECASE)
_PART = r"`?([A-Za-z0-9_-]+)`?\s*\.\s*"
_VIEWS: list[tuple[re.Pattern[str], dict[str, str], Callable[[Any], Iterator[tuple[Any, ...]]]]] = []
_expand = information_schema.expand_information_schema


def no_materialized_views() -> str:
    """The view MATERIALIZED_VIEWS of a dataset without one."""
    return _literals(dict.fromkeys(information_schema._MV_COLUMNS, "STRING"), [])


def literal(value: str | None) -> str:
    """A text as BigQuery writes it; the library doubles quotes, and leaves backslashes and new lines."""
    return "NULL" if value is None else exp.Literal.string(value).sql("bigquery")


def option(value: str) -> str:
    """A text as the value of an option; the library leaves new lines, which JSON_VALUE does not read."""
    return json.dumps(value, ensure_ascii=False)


def expanded(statement: str, project: str, catalog: Any) -> str:
    """The statement with the views that it names as literals."""
    statement = _QUOTED.sub(r"INFORMATION_SCHEMA.\1", statement)
    for pattern, columns, rows in _VIEWS:

        def replaced(found: re.Match[str], columns: dict[str, str] = columns, rows: Any = rows) -> str:
            tables = catalog.list_tables(found[1] or project, found[2])
            return _literals(columns, [row for table in tables for row in rows(table)])

        statement = pattern.sub(replaced, statement)
    return _expand(statement, project, catalog)


def _literals(columns: dict[str, str], rows: list[tuple[Any, ...]]) -> str:
    if not rows:
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns.items())
        return f"(SELECT {nothing} WHERE FALSE)"
    texts = (", ".join(str(v) if isinstance(v, int) else literal(v) for v in row) for row in rows)
    values = f"VALUES ({'), ('.join(texts)})"
    return f"(SELECT * FROM ({values}) AS v({', '.join(columns)}))"  # noqa: S608 - literals


def _table(table: Any) -> Iterator[tuple[Any, ...]]:
    times = (int(when.timestamp() * 1000) for when in (table.creation_time, table.last_modified_time))
    names = (table.project_id, table.dataset_id, table.table_id)
    yield *names, *times, table.num_rows, table.num_bytes, KINDS.get(table.table_type, 1)


def _paths(table: Any) -> Iterator[tuple[Any, ...]]:
    def below(column: str, prefix: str, field: Any) -> Iterator[tuple[Any, ...]]:
        path = f"{prefix}{field.name}"
        names = (table.project_id, table.dataset_id, table.table_id, column, path)
        yield *names, _render_data_type(field), field.description
        for inner in field.fields:
            yield from below(column, f"{path}.", inner)

    for field in table.schema_.fields:
        yield from below(field.name, "", field)


_VIEWS += [
    (re.compile(rf"(?:{_PART})?{_PART}`?__TABLES__`?"), TABLES, _table),
    (
        re.compile(rf"(?:{_PART})?{_PART}INFORMATION_SCHEMA\s*\.\s*COLUMN_FIELD_PATHS", re.IGNORECASE),
        FIELD_PATHS,
        _paths,
    ),
]
