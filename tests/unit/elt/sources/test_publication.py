"""When a month counts as given up: it was due, and waited for long enough."""

from __future__ import annotations

import datetime as dt

from elt.catalogue.registry import DATASETS
from elt.sources.publication import PATIENCE, given_up

YELLOW = DATASETS["yellow"]
DUE = dt.date(2026, 3, 1)  # the day on which 2026-01 is expected, two months later
MONTH = "2026-01"


def months(since: dt.date, today: dt.date) -> list[str]:
    return [str(month) for month in given_up(YELLOW, since, today)]


def test_a_month_is_given_up_when_patience_is_over() -> None:
    assert months(DUE, DUE + PATIENCE) == []
    assert months(DUE, DUE + PATIENCE + dt.timedelta(days=1)) == [MONTH]


def test_a_month_that_was_due_before_the_schedule_began_is_nobodys() -> None:
    assert months(DUE + dt.timedelta(days=1), DUE + PATIENCE + dt.timedelta(days=1)) == []


def test_each_month_is_given_up_in_turn() -> None:
    assert months(dt.date(2026, 2, 15), dt.date(2026, 6, 1)) == ["2026-01", "2026-02", "2026-03"]


def test_a_dataset_without_months_is_never_given_up() -> None:
    assert list(given_up(DATASETS["zones"], DUE, dt.date(2030, 1, 1))) == []
