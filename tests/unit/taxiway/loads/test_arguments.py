"""Which datasets and months a command line asks for, and in which order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from elt.catalogue.registry import DATASETS
from elt.errors import InvalidPeriodError, UnknownDatasetError
from elt.periods import Month, Partition
from taxiway.errors import UsageError
from taxiway.loads.arguments import first_load, next_load, nothing_first, partitions, read

JANUARY, FEBRUARY = Month(2024, 1), Month(2024, 2)


def requested(*words: str, newest_first: bool = False) -> list[Partition]:
    return partitions(read(words), newest_first=newest_first)


def test_a_range_is_loaded_oldest_first() -> None:
    assert requested("yellow", "2024-01..2024-02") == [
        Partition("yellow", JANUARY),
        Partition("yellow", FEBRUARY),
    ]


def test_a_range_is_loaded_newest_first_where_that_is_asked_for() -> None:
    found = requested("yellow", "2024-01..2024-02", newest_first=True)
    assert found == [Partition("yellow", FEBRUARY), Partition("yellow", JANUARY)]


def test_what_has_not_begun_is_not_waited_for() -> None:
    now = datetime(2024, 1, 31, 23, tzinfo=UTC)
    with pytest.raises(UsageError, match="yellow 2024-02 has not begun"):
        partitions(read(["yellow", "2024-02..2024-03"]), now=now)
    assert len(partitions(read(["yellow", "2024-01..2024-02"]), now=now)) == 2, "the second is reported"


def test_several_datasets_go_month_by_month_and_those_without_months_first() -> None:
    found = requested("all", "2024-01..2024-02")
    monthly = [name for name, entry in DATASETS.items() if entry.every]
    assert found == [
        *(Partition(name) for name, entry in DATASETS.items() if not entry.every),
        *(Partition(name, month) for month in (JANUARY, FEBRUARY) for name in monthly),
    ]


def test_of_several_datasets_one_that_begins_later_takes_what_it_has() -> None:
    first = DATASETS["yellow"].first
    assert first
    found = requested("zones", "yellow", f"{first.shift(-2)}..{first}")
    assert found == [Partition("zones"), Partition("yellow", first)]


def test_a_single_dataset_that_begins_later_says_when() -> None:
    with pytest.raises(InvalidPeriodError, match=str(DATASETS["yellow"].first)):
        requested("yellow", "1999-01..2024-01")


def test_a_range_is_for_the_datasets_named_before_it() -> None:
    assert requested("yellow", "2024-01", "green", "2024-02", "zones") == [
        Partition("yellow", JANUARY),
        Partition("green", FEBRUARY),
        Partition("zones"),
    ]


def test_what_two_ranges_name_is_loaded_once() -> None:
    assert requested("yellow", "2024-01..2024-02", "yellow", "2024-02") == [
        Partition("yellow", JANUARY),
        Partition("yellow", FEBRUARY),
    ]


def test_a_dataset_named_twice_is_loaded_once() -> None:
    assert requested("yellow", "yellow", "2024-01") == [Partition("yellow", JANUARY)]


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (("pink", "2024-01"), UnknownDatasetError, "yellow"),
        (("yellow",), InvalidPeriodError, "by month"),
        (("zones", "2024-01"), InvalidPeriodError, "without periods"),
        (("yellow", "2024-13"), InvalidPeriodError, "2024-13"),
        (("yellow", "2024-02..2024-01"), InvalidPeriodError, "ends before"),
        (("2024-01",), UsageError, "2024-01 of which dataset"),
        (("yellow", "2024-01", "2024-03"), UsageError, "2024-03 of which dataset"),
        (("all", "pink", "2024-01"), UnknownDatasetError, "pink"),
        (("all",), UsageError, "2024-01..2024-03|by month"),
        (("yellow", "January"), UnknownDatasetError, "January"),
    ],
)
def test_what_cannot_be_loaded_is_said(words: tuple[str, ...], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        requested(*words)


def test_a_new_platform_is_filled_with_the_starter_datasets() -> None:
    starters = {name for name, entry in DATASETS.items() if entry.starter}
    assert starters == {"yellow", "zones"}
    assert first_load() == [Partition("zones"), Partition("yellow", JANUARY), Partition("yellow", FEBRUARY)]
    assert first_load("2023-05") == [Partition("zones"), Partition("yellow", Month(2023, 5))]


def test_months_that_a_starter_dataset_does_not_have_are_refused() -> None:
    with pytest.raises(InvalidPeriodError, match="begins with"):
        first_load("1999-01")


def test_a_starter_that_begins_later_is_shown_by_its_own_first_months() -> None:
    late = replace(DATASETS["yellow"], first=Month(2026, 11))
    assert first_load(datasets=[late]) == [
        Partition("yellow", Month(2026, 11)),
        Partition("yellow", Month(2026, 12)),
    ]


def test_without_a_starter_dataset_nothing_is_loaded_and_the_next_step_is_to_add_one() -> None:
    assert first_load(datasets=[]) == []
    assert next_load([], {}) == "scripts/new NAME ADDRESS"
    assert "scripts/new" in nothing_first("2024-01", {})


def test_datasets_of_which_none_is_a_starter_are_said_and_the_next_step_loads_one() -> None:
    own = {"yellow": replace(DATASETS["yellow"], starter=False)}
    assert "2024-01 is of none" in nothing_first("2024-01", own)
    assert next_load([], own) == "scripts/run yellow 2009-01"
    assert nothing_first(None) == ""


def test_the_next_step_loads_the_months_that_follow() -> None:
    assert next_load(first_load()) == "scripts/run yellow 2024-03..2024-04"
