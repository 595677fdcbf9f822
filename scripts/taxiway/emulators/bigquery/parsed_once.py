"""Gap: the library parses each statement some twenty times on its way; here once, and then copied."""

import functools
from typing import Any

from sqlglot.dialects.dialect import Dialect
from sqlglot.expressions import Expr

# Statements of a job are parsed one after the other, those of a few jobs side by side.
_REMEMBERED = 64
_parse_really = Dialect.parse


def correct_library() -> None:
    """Let the parser remember the last statements."""
    Dialect.parse = _parse  # type: ignore[assignment, method-assign]


def _parse(dialect: Dialect, sql: str, **options: Any) -> list[Expr | None]:
    if options or dialect.settings:
        return _parse_really(dialect, sql, **options)
    # Callers rewrite what they get: each has a copy of its own.
    return [tree and tree.copy() for tree in _trees(type(dialect), sql)]


@functools.lru_cache(_REMEMBERED)
def _trees(kind: type[Dialect], sql: str) -> list[Expr | None]:
    return _parse_really(kind(), sql)
