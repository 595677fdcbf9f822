"""Weeks, and whole units between two moments, as BigQuery counts them.

What is translated is BigQuery's SQL in other words, and stays it: the library's steps hand each other texts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from sqlglot import expressions as exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.expressions import Expr

# Units that TIMESTAMP_DIFF has besides, in microseconds.
_MICROSECONDS = {"MILLISECOND": 10**3, "SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6,
                 "DAY": 86_400 * 10**6}  # fmt: skip
_DAYS = ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")
# The day that a week begins on, as its number: Sunday is 0.
_BEGINNINGS = {"WEEK": 0, "ISOWEEK": 1, **{f"WEEK({day})": number for number, day in enumerate(_DAYS)}}
# How FORMAT_DATE writes the number of a week that is named by its first day; other days it has no letter for.
# EXTRACT of a plain WEEK the library gets right.
_FORMATS = {"WEEK(SUNDAY)": "%U", "WEEK(MONDAY)": "%W"}


def counted(node: Expr) -> Expr:
    """The same node, or what it stands for.

    BigQuery: TIMESTAMP_DIFF counts whole units, and a week begins on Sunday, an ISOWEEK on Monday. Library:
    it counts borders of units, as DATETIME_DIFF does; a week of a DATETIME or TIMESTAMP begins on Monday.
    """
    unit, parts = _unit(node), {"_a": node.this, "_b": node.args.get("expression")}
    if isinstance(node, exp.TimestampDiff) and unit in _MICROSECONDS:
        return _filled(f"DIV(TIMESTAMP_DIFF(_a, _b, MICROSECOND), {_MICROSECONDS[unit]})", parts)
    if isinstance(node, exp.Extract) and unit in _FORMATS and not isinstance(node.expression, exp.AtTimeZone):
        return _filled(f"CAST(FORMAT_DATE('{_FORMATS[unit]}', DATE(_b)) AS INT64)", parts)
    if unit not in _BEGINNINGS:
        return node
    parts["_zone"] = node.args.get("zone") or exp.Literal.string("UTC")
    text = _OF_WEEKS.get(type(node))
    return _filled(text(_BEGINNINGS[unit]), parts) if text else node


def _begin(date: str, first: int) -> str:
    """The first day of a date's week."""
    return f"DATE_SUB({date}, INTERVAL MOD(EXTRACT(DAYOFWEEK FROM {date}) + {6 - first}, 7) DAY)"


def _weeks(first: int) -> str:
    return f"DIV(DATE_DIFF({_begin('DATE(_a)', first)}, {_begin('DATE(_b)', first)}, DAY), 7)"


_OF_WEEKS: Mapping[type[Expr], Callable[[int], str]] = {
    exp.DateDiff: _weeks,
    exp.DatetimeDiff: _weeks,
    exp.DateTrunc: lambda first: _begin("DATE(_a)", first),
    exp.DatetimeTrunc: lambda first: f"DATETIME({_begin('DATE(_a)', first)})",
    exp.TimestampTrunc: lambda first: f"TIMESTAMP({_begin('DATE(_a, _zone)', first)}, _zone)",
}


def _unit(node: Expr) -> str:
    found = node.this if isinstance(node, exp.Extract) else node.args.get("unit")
    if isinstance(found, exp.WeekStart):
        return f"WEEK({found.name.upper()})"
    return found.name.upper() if isinstance(found, exp.Expression) else ""


def _filled(text: str, parts: Mapping[str, Expr]) -> Expr:
    tree = _template(text).copy()
    for column in list(tree.find_all(exp.Column)):
        column.replace(parts[column.name].copy().transform(counted))
    return tree


@functools.cache
def _template(text: str) -> Expr:
    text = f"SELECT {text}"
    (select,) = BigQuery().parser().parse(BigQuery().tokenize(text), text)
    found: Expr = select.selects[0]  # type: ignore[union-attr]  # there is one
    return found
