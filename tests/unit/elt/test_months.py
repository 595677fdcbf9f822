import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.errors import InvalidPeriodError
from elt.periods import Month, Partition, parse_range

months = st.builds(Month, st.integers(1000, 9000), st.integers(1, 12))


@given(months)
def test_a_month_reads_what_it_writes(month):
    assert Month.parse(str(month)) == month


@given(months, st.integers(-5000, 5000))
def test_shifting_there_and_back_ends_where_it_began(month, distance):
    assert month.shift(distance).shift(-distance) == month


@given(months, months)
def test_months_sort_by_time(one, other):
    assert (one < other) == (one.first_day() < other.first_day())


@given(months, st.integers(0, 200))
def test_a_range_has_every_month_once_both_ends_included(first, length):
    found = parse_range(f"{first}..{first.shift(length)}")
    assert found[0] == first
    assert len(found) == length + 1
    assert all(later == earlier.next() for earlier, later in itertools.pairwise(found))


def test_a_single_month_is_a_range_of_one():
    assert parse_range("2024-01") == (Month(2024, 1),)


def test_december_is_followed_by_january():
    assert str(Month.parse("2023-12").next()) == "2024-01"


def test_a_day_has_a_month():
    assert Month.of(dt.date(2024, 2, 29)) == Month(2024, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024",
        "2024-1",
        "2024-13",
        "2024-00",
        "24-01",
        "2024-01-01",
        " 2024-01",
        "2024-01\n",
        "\u0662\u0660\u0662\u0664-\u0660\u0661",
        "x",
    ],
)
def test_a_malformed_month_is_named_in_the_error(text):
    with pytest.raises(InvalidPeriodError, match="Write it like 2024-01"):
        Month.parse(text)


@pytest.mark.parametrize(
    "text", ["2024-02..2024-01", "2024-01..", "..2024-01", "2024-01...2024-02", "2024-01-2024-02"]
)
def test_a_malformed_range_is_refused(text):
    with pytest.raises(InvalidPeriodError):
        parse_range(text)


def test_a_month_that_no_calendar_has_is_refused():
    with pytest.raises(InvalidPeriodError):
        Month(2024, 13)


ZONES, JANUARY = Partition("zones"), Partition("yellow", Month(2024, 1))


def test_a_partition_is_written_as_people_do():
    assert (str(JANUARY), JANUARY.key) == ("yellow 2024-01", "2024-01")
    assert (str(ZONES), ZONES.key) == ("zones", None)


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_month_is_none_however_a_text_says_it(nothing):
    assert Partition.parse("zones", nothing) == ZONES
    assert Partition.parse("yellow", "2024-01") == JANUARY


def test_a_partition_of_a_month_that_is_none_is_refused():
    with pytest.raises(InvalidPeriodError):
        Partition.parse("yellow", "2024-13")


@given(st.permutations([ZONES, JANUARY, Partition("yellow"), Partition("yellow", Month(2023, 12))]))
def test_partitions_sort_by_dataset_then_month_with_none_first(partitions):
    expected = ["yellow", "yellow 2023-12", "yellow 2024-01", "zones"]
    assert [str(partition) for partition in sorted(partitions)] == expected
    assert max(partitions) == ZONES
