"""Weeks, and units between two moments, counted by the emulated BigQuery and by Google's evaluator."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest

import stacks

pytestmark = pytest.mark.emulators
WEEKS = ("WEEK", "ISOWEEK", "WEEK(SUNDAY)", "WEEK(MONDAY)", "WEEK(THURSDAY)")
UNITS = ("DAY", "MONTH", "QUARTER", "YEAR", *WEEKS)
# `d`, `m` and `t` are the same moment as DATE, DATETIME and TIMESTAMP, `e`, `n` and `u` another one.
COUNTED = (
    *(f"DATE_DIFF(d, e, {unit})" for unit in UNITS),
    *(f"DATETIME_DIFF(m, n, {unit})" for unit in (*UNITS, "HOUR", "MINUTE", "SECOND")),
    *(
        f"TIMESTAMP_DIFF(t, u, {unit})"
        for unit in ("DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND")
    ),
    # The emulator truncates a DATE to a DATETIME, but for weeks: docs/dbt.md.
    *(f"CAST(DATE_TRUNC(d, {unit}) AS DATE)" for unit in UNITS),
    *(f"DATETIME_TRUNC(m, {unit})" for unit in (*UNITS, "HOUR")),
    *(f"TIMESTAMP_TRUNC(t, {unit})" for unit in (*WEEKS, "DAY", "HOUR")),
    "TIMESTAMP_TRUNC(t, WEEK, 'America/New_York')",
    *(f"EXTRACT({unit} FROM m)" for unit in ("WEEK", "ISOWEEK", "WEEK(MONDAY)", "DAYOFWEEK")),
    "EXTRACT(WEEK FROM d)",
    "EXTRACT(WEEK FROM t)",
    "EXTRACT(WEEK(SUNDAY) FROM t)",
    "TIMESTAMP_DIFF(TIMESTAMP_TRUNC(t, WEEK), TIMESTAMP_ADD(u, INTERVAL TIMESTAMP_DIFF(t, u, DAY) DAY), DAY)",
)


def moments() -> list[str]:
    """Around new year, months' ends and Sundays; each as a literal's text."""
    chosen = random.Random(11)
    first = dt.datetime(2018, 12, 20)  # noqa: DTZ001 - literals have none
    spread = [first + dt.timedelta(seconds=chosen.randrange(3 * 366 * 86_400)) for _ in range(60)]
    edges = [first + dt.timedelta(days=day, seconds=second) for day in range(24) for second in (0, -1)]
    return [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (*spread, *edges)]


def pairs() -> str:
    texts = moments()
    others = random.Random(12).sample(texts, len(texts))
    rows = [
        f"SELECT {place} AS id, DATE '{a[:10]}' AS d, DATE '{b[:10]}' AS e, DATETIME '{a}' AS m, "
        f"DATETIME '{b}' AS n, TIMESTAMP '{a}+00' AS t, TIMESTAMP '{b}+00' AS u"
        for place, (a, b) in enumerate(zip(texts, others, strict=True))
    ]
    return " UNION ALL ".join(rows)


def test_the_emulator_counts_as_google_does(emulators: Any, google_sql: Any) -> None:
    columns = ", ".join(f"{text} AS v{place}" for place, text in enumerate(COUNTED))
    query = f"SELECT id, {columns} FROM ({pairs()}) AS p ORDER BY id"
    with stacks.new_stack(emulators, "https://publisher.test").warehouse() as warehouse:
        found = warehouse.query(query, {}, {"app": "test"})
    expected = google_sql.catalog({}).select(query, {})
    assert len(found) == len(expected) > 100
    different = {
        text: (ours[f"v{place}"], theirs[f"v{place}"])
        for ours, theirs in zip(found, expected, strict=True)
        for place, text in enumerate(COUNTED)
        if ours[f"v{place}"] != theirs[f"v{place}"]
    }
    assert different == {}
