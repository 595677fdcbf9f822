"""Gap: the library ignores query parameters in scripts, a transaction among them."""

import contextvars
from typing import Any

import sqlglot
from bqemulator.jobs import executor
from bqemulator.scripting import interpreter
from bqemulator.sql.parameters import _extract_value
from sqlglot import expressions

Json = dict[str, Any]
_rewrite = interpreter._rewrite_vars_to_params
_run_body = executor._run_query_body
_given: contextvars.ContextVar[dict[str, Json] | None] = contextvars.ContextVar("given", default=None)


def correct_library() -> None:
    """Let scripts see the named parameters of their job."""
    for owner, name, replacement in (
        (executor, "_run_query_body", _run_query_body),
        (interpreter, "_rewrite_vars_to_params", _with_parameters),
    ):
        setattr(owner, name, replacement)


async def _run_query_body(**arguments: Any) -> Any:
    named = {entry["name"]: entry for entry in arguments.get("query_params") or [] if entry.get("name")}
    token = _given.set(named)
    try:
        return await _run_body(**arguments)
    finally:
        _given.reset(token)


def _with_parameters(sql: str, frames: Any) -> tuple[str, list[Any]]:
    """Return a statement of a script with variables and parameters numbered, and their values."""
    text, values = _rewrite(sql, frames)
    given = _given.get()
    if "@" not in text or not given:
        return text, values
    tree = sqlglot.parse_one(text, read="bigquery")
    for node in list(tree.find_all(expressions.Parameter)):
        entry = given.get(node.name)
        if entry is not None:
            kind = (entry.get("parameterType") or {}).get("type")
            node.replace(interpreter._build_scalar_placeholder(_extract_value(entry), kind, values))
    return tree.sql(dialect="bigquery"), values
