import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.errors import InvalidPeriodError
from elt.periods import KINDS, Day, Hour, Month, Partition, Period, Span, Year

moments = st.datetimes(Year(1000).start, Year(9000).start)
kinds = st.sampled_from(list(KINDS.values()))
periods = st.builds(lambda kind, moment: kind.of(moment), kinds, moments)


@given(periods)
def test_a_period_reads_what_it_writes(period):
    assert Period.parse(str(period)) == period == type(period).parse(str(period))
    assert eval(repr(period), {kind.__name__: kind for kind in KINDS.values()}) == period


@given(periods, st.integers(-5000, 5000))
def test_shifting_there_and_back_ends_where_it_began(period, distance):
    try:
        assert period.shift(distance).shift(-distance) == period
    except InvalidPeriodError:
        # Of years: the calendar has 9999.
        assert period.start.year + distance not in range(1, 10_000)


@given(kinds, moments)
def test_a_moment_lies_in_its_period_and_in_no_other(kind, moment):
    period = kind.of(moment)
    assert period.start <= moment < period.end
    assert period.end == period.next().start


@given(periods, periods)
def test_periods_sort_by_time_and_a_longer_one_before_its_parts(one, other):
    if one.start == other.start:
        assert (one < other) == (one.end > other.end)
    else:
        assert (one < other) == (one.start < other.start)


@given(periods, st.integers(0, 200))
def test_a_span_has_every_period_once_both_ends_included(first, length):
    found = list(Span.parse(f"{first}..{first.shift(length)}").periods(first.grain))
    assert found[0] == first
    assert len(found) == length + 1
    assert all(later == earlier.next() for earlier, later in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("text", "grain", "first", "last", "count"),
    [
        ("2024-01", "month", "2024-01", "2024-01", 1),
        ("2024", "month", "2024-01", "2024-12", 12),
        ("2024-02", "day", "2024-02-01", "2024-02-29", 29),
        ("2024-01-01..2024-01-31", "day", "2024-01-01", "2024-01-31", 31),
        ("2024-01-05..2024-02", "day", "2024-01-05", "2024-02-29", 56),
        ("2024-01-05", "hour", "2024-01-05T00", "2024-01-05T23", 24),
        ("2024-01-05T05..2024-01-05T07", "hour", "2024-01-05T05", "2024-01-05T07", 3),
        ("2023-12-31..2024-01-01", "month", "2023-12", "2024-01", 2),
        ("2024-06", "year", "2024", "2024", 1),
    ],
)
def test_a_span_of_any_words_has_the_periods_of_any_grain(text, grain, first, last, count):
    found = list(Span.parse(text).periods(grain))
    assert (str(found[0]), str(found[-1]), len(found)) == (first, last, count)


def test_december_is_followed_by_january():
    assert str(Month.parse("2023-12").next()) == "2024-01"


def test_a_day_lies_in_a_period_of_every_kind():
    day = dt.date(2024, 2, 29)
    assert [kind.of(day) for kind in KINDS.values()] == [
        Year(2024), Month(2024, 2), Day(2024, 2, 29), Hour(2024, 2, 29, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "202", "2024-1", "2024-13", "2024-00", "24-01", "2024-02-30", "2024-W01", "2024-001", "20240105",
        " 2024-01", "2024-01\n", "2024-01-05T24", "2024-01-05 05", "2024-01-05T5",
        "\u0662\u0660\u0662\u0664-\u0660\u0661", "x",
    ],
)  # fmt: skip
def test_a_malformed_period_is_named_in_the_error(text):
    with pytest.raises(InvalidPeriodError, match="Write it like 2024-01"):
        Period.parse(text)
    with pytest.raises(InvalidPeriodError, match="Write it like 2024-01"):
        Month.parse(text)


def test_a_class_reads_its_own_periods_only():
    with pytest.raises(InvalidPeriodError, match="month '2024-01-05' is malformed"):
        Month.parse("2024-01-05")


@pytest.mark.parametrize(
    "text", ["2024-02..2024-01", "2024-01..", "..2024-01", "2024-01...2024-02", "2024-01-2024-02"]
)
def test_a_malformed_range_is_refused(text):
    with pytest.raises(InvalidPeriodError):
        Span.parse(text)


@pytest.mark.parametrize(
    ("kind", "numbers"), [(Month, (2024, 13)), (Month, (2024, 1, 5)), (Day, (2023, 2, 29)), (Year, (0,))]
)
def test_a_period_that_no_calendar_has_is_refused(kind, numbers):
    with pytest.raises(InvalidPeriodError, match="Write it like"):
        kind(*numbers)


ZONES, JANUARY = Partition("zones"), Partition("yellow", Month(2024, 1))


def test_a_partition_is_written_as_people_do():
    assert (str(JANUARY), JANUARY.key) == ("yellow 2024-01", "2024-01")
    assert (str(ZONES), ZONES.key) == ("zones", None)


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_period_is_none_however_a_text_says_it(nothing):
    assert Partition.parse("zones", nothing) == ZONES
    assert Partition.parse("yellow", "2024-01") == JANUARY


def test_a_partition_of_a_period_that_is_none_is_refused():
    with pytest.raises(InvalidPeriodError):
        Partition.parse("yellow", "2024-13")


@given(st.permutations([ZONES, JANUARY, Partition("yellow"), Partition("yellow", Month(2023, 12))]))
def test_partitions_sort_by_dataset_then_period_with_none_first(partitions):
    expected = ["yellow", "yellow 2023-12", "yellow 2024-01", "zones"]
    assert [str(partition) for partition in sorted(partitions)] == expected
    assert max(partitions) == ZONES
