"""Which partitions are loaded together: small ones in a row, in order, up to a number and to some bytes."""

from __future__ import annotations

import pytest
from fake_airflow import FakeAirflow

from elt.periods import Day, Month, Partition, Period
from taxiway.loads.bulk import LEAST, MOST, SMALL, TOGETHER, Batch, batches, under_way

KB = 1024


def days(count: int, first: int = 0, dataset: str = "rides") -> list[Partition]:
    return [Partition(dataset, Day(2024, 1, 1).shift(number)) for number in range(first, first + count)]


def test_a_thousand_days_are_batches_in_their_order_and_none_is_lost() -> None:
    wanted = days(1000)
    found = batches(wanted, {"rides": 10 * KB})
    assert [p for batch in found for p in batch.partitions] == wanted
    assert {len(batch.partitions) for batch in found} == {MOST}
    assert found[0].key == f"2024-01-01..{Day(2024, 1, 1).shift(MOST - 1)}"
    assert (found[0].dag, str(found[0])) == ("rides_bulk_load", f"rides {found[0].key}")


def test_the_newest_first_stay_first() -> None:
    found = batches(reversed(days(100)), {"rides": KB})
    assert [p for batch in found for p in batch.partitions] == days(100)[::-1]
    assert found[0].key == f"{Day(2024, 1, 1).shift(100 - MOST)}..{Day(2024, 1, 1).shift(99)}"


@pytest.mark.parametrize("size", [SMALL + 1, 500 * 2**20])
def test_real_months_are_not_put_together(size: int) -> None:
    months = [Partition("yellow", Month(2020, 1).shift(number)) for number in range(24)]
    assert batches(months, {"yellow": size}) == []


def test_what_has_no_known_size_or_no_periods_is_loaded_alone() -> None:
    assert batches(days(100), {}) == []
    assert batches([Partition("zones")] * LEAST, {"zones": KB}) == []


def test_a_run_has_no_more_bytes_than_are_allowed() -> None:
    found = batches(days(100), {"rides": SMALL})
    assert max(len(batch.partitions) for batch in found) == TOGETHER // SMALL < MOST


def test_a_range_has_no_partition_that_was_not_asked_for() -> None:
    wanted = days(10) + days(10, first=20) + days(LEAST - 1, first=50)
    found = batches(wanted, {"rides": KB})
    assert [list(batch.partitions) for batch in found] == [days(10), days(10, first=20)], "a gap ends a range"


def test_datasets_are_not_mixed() -> None:
    mixed = [p for pair in zip(days(20), days(20, dataset="trips"), strict=True) for p in pair]
    assert [str(batch) for batch in batches(mixed, {"rides": KB, "trips": KB})] == [
        "rides 2024-01-01..2024-01-20",
        "trips 2024-01-01..2024-01-20",
    ]


def test_a_range_that_a_run_is_at_is_found_with_its_partitions() -> None:
    api = FakeAirflow()
    months: list[Period] = [Month(2024, 1), Month(2024, 2)]
    for key in ("2024-01..2024-02", "nonsense", None):
        api.add("yellow_bulk_load", key)
    api.add("yellow_bulk_load", "2023-01..2023-02")["state"] = "success"
    airflow: object = api
    found = under_way(airflow, ["yellow", "zones"])  # type: ignore[arg-type]
    assert found == [Batch(tuple(Partition("yellow", month) for month in months))]
