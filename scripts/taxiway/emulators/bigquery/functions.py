"""Which functions BigQuery has: the emulator's engine, and what translates for it, know others."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import duckdb
from sqlglot.dialects.bigquery import BigQuery

# All that Google's SQL analyzer knows (a test compares them); NET.HOST and its like are not looked at.
ANALYZED = frozenset(Path(__file__).with_name("functions.txt").read_text().split())
# What BigQuery documents beside them, and words of the language that stand before a parenthesis.
DOCUMENTED = frozenset({
    "AND", "ARRAY", "CASE", "CAST", "COLLATE", "COLUMNS", "CONTAINS_SUBSTR", "EXISTS", "EXTRACT", "GAP_FILL",
    "INSERT", "LIKE", "MAX_BY", "MIN_BY", "OR", "SAFE_CAST", "SEARCH", "STRUCT", "TRANSFORM", "UNNEST",
    "VECTOR_SEARCH", "WEEK",
})  # fmt: skip
# After these a name is one that the statement gives.
_NAMING = frozenset({"EXISTS", "FUNCTION", "INTO", "TABLE", "VIEW"})
_QUOTED = ("IDENTIFIER", "STRING")


@cache
def foreign() -> frozenset[str]:
    """Functions that would run here, and that BigQuery does not have."""
    rows = duckdb.execute("SELECT DISTINCT upper(function_name) FROM duckdb_functions()").fetchall()
    known = {*BigQuery.Parser.FUNCTIONS, *(name for (name,) in rows)}
    # Operators are functions of DuckDB's, too.
    return frozenset(filter(str.isidentifier, known)) - ANALYZED - DOCUMENTED


def first_foreign(statement: str) -> str:
    """BigQuery's sentence about the first such function that is called, else empty. Raises TokenError."""
    tokens = BigQuery().tokenize(statement)
    named = set[str]()
    for before, token, after in zip([None, *tokens], tokens, tokens[1:], strict=False):
        name, previous = token.text.upper(), before.text.upper() if before else ""
        if after.text != "(" or token.token_type.name in _QUOTED or previous == ".":
            continue
        if previous in _NAMING:
            named.add(name)
        elif name in foreign() and name not in named:
            return f"Function not found: {token.text} at [{token.line}:{token.col - len(token.text) + 1}]"
    return ""
