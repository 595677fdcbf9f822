"""Which datasets and months a command line asks for, and in which order."""

from __future__ import annotations

import pytest

from elt.catalogue.registry import DATASETS
from elt.errors import InvalidMonthError, UnknownDatasetError
from taxiway.errors import UsageError
from taxiway.loads.arguments import read, units
from taxiway.loads.runner import Unit


def asked(*words: str, newest_first: bool = False) -> list[Unit]:
    entries, months = read(words)
    return units(entries, months, newest_first=newest_first)


def test_a_range_is_loaded_oldest_first() -> None:
    assert asked("yellow", "2024-01..2024-02") == [Unit("yellow", "2024-01"), Unit("yellow", "2024-02")]


def test_a_range_is_loaded_newest_first_where_that_is_asked_for() -> None:
    found = asked("yellow", "2024-01..2024-02", newest_first=True)
    assert found == [Unit("yellow", "2024-02"), Unit("yellow", "2024-01")]


def test_several_datasets_go_month_by_month_and_those_without_months_first() -> None:
    found = asked("all", "2024-01..2024-02")
    monthly = [name for name, entry in DATASETS.items() if entry.monthly]
    assert found == [
        *(Unit(name) for name, entry in DATASETS.items() if not entry.monthly),
        *(Unit(name, month) for month in ("2024-01", "2024-02") for name in monthly),
    ]


def test_of_several_datasets_one_that_begins_later_takes_what_it_has() -> None:
    first = DATASETS["yellow"].first_month
    assert first
    found = asked("zones", "yellow", f"{first.shift(-2)}..{first}")
    assert found == [Unit("zones"), Unit("yellow", str(first))]


def test_a_single_dataset_that_begins_later_says_when() -> None:
    with pytest.raises(InvalidMonthError, match=str(DATASETS["yellow"].first_month)):
        asked("yellow", "1999-01..2024-01")


def test_a_dataset_named_twice_is_loaded_once() -> None:
    assert asked("yellow", "yellow", "2024-01") == [Unit("yellow", "2024-01")]


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (("pink", "2024-01"), UnknownDatasetError, "yellow"),
        (("yellow",), InvalidMonthError, "by month"),
        (("zones", "2024-01"), InvalidMonthError, "without months"),
        (("yellow", "2024-13"), InvalidMonthError, "2024-13"),
        (("yellow", "2024-02..2024-01"), InvalidMonthError, "ends before"),
        (("2024-01",), UsageError, "which dataset"),
        (("all",), UsageError, "2024-01..2024-03|by month"),
        (("yellow", "January"), UnknownDatasetError, "January"),
    ],
)
def test_what_cannot_be_loaded_is_said(words: tuple[str, ...], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        asked(*words)
