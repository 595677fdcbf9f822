"""When a month counts as given up: it was due, and waited for long enough."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from elt.catalogue.registry import DATASETS
from elt.months import Month
from elt.sources.publication import PATIENCE, given_up

YELLOW = DATASETS["yellow"]
DUE = dt.date(2026, 3, 1)  # the day on which 2026-01 is expected, two months later
THREE_WEEKS_LATER = dt.date(2026, 3, 22)
MONTH = "2026-01"


def months(since: dt.date, today: dt.date, first: Month | None = None) -> list[str]:
    entry = replace(YELLOW, first_month=first) if first else YELLOW
    return [str(month) for month in given_up(entry, since, today)]


def test_a_month_is_waited_for_three_weeks_after_it_is_due() -> None:
    assert dt.timedelta(days=21) == PATIENCE, "docs/pipelines.md says so"
    assert months(DUE, THREE_WEEKS_LATER) == []
    assert months(DUE, THREE_WEEKS_LATER + dt.timedelta(days=1)) == [MONTH]


def test_a_month_that_was_due_before_the_schedule_began_is_nobodys() -> None:
    assert months(DUE + dt.timedelta(days=1), THREE_WEEKS_LATER + dt.timedelta(days=1)) == []


def test_each_month_is_given_up_in_turn() -> None:
    assert months(dt.date(2026, 2, 15), dt.date(2026, 6, 1)) == ["2026-01", "2026-02", "2026-03"]


def test_months_before_a_datasets_first_one_were_never_due() -> None:
    """Though the schedule began before."""
    assert months(dt.date(2025, 1, 1), dt.date(2026, 6, 1), Month(2026, 2)) == ["2026-02", "2026-03"]
    assert months(dt.date(2025, 1, 1), dt.date(2026, 6, 1), Month(2026, 9)) == []


def test_a_dataset_without_months_is_never_given_up() -> None:
    assert list(given_up(DATASETS["zones"], DUE, dt.date(2030, 1, 1))) == []
