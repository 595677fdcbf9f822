import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt import layout
from elt.catalogue.registry import DATASETS
from elt.errors import InvalidPeriodError, PermanentError
from elt.periods import Month

YELLOW, ZONES, JANUARY = DATASETS["yellow"], DATASETS["zones"], Month(2024, 1)


def test_raw_keeps_the_published_name():
    assert layout.raw_object(YELLOW, JANUARY) == "raw/yellow/yellow_tripdata_2024-01.parquet"
    assert layout.raw_object(ZONES, None) == "raw/zones/taxi_zone_lookup.csv"


def test_typed_files_lie_by_year_and_month():
    expected = "typed/yellow/year=2024/month=01/yellow_tripdata_2024-01.parquet"
    assert layout.typed_object(YELLOW, JANUARY) == expected
    assert layout.typed_object(ZONES, None) == "typed/zones/taxi_zone_lookup.parquet"


def test_the_quarantine_lies_beside_typed():
    assert layout.quarantine_object(YELLOW, JANUARY) == layout.typed_object(YELLOW, JANUARY).replace(
        "typed/", "quarantine/"
    )


def test_a_partition_is_named_by_its_month():
    assert layout.partition_table(YELLOW, JANUARY) == "yellow_trips_2024_01"
    assert layout.partition_table(ZONES, None) == "zones"


@given(st.text(), st.text())
def test_staging_tables_of_two_runs_differ_and_are_safe_whatever_the_run_is_called(one, other):
    first, second = (layout.staging_table(YELLOW, JANUARY, run) for run in (one, other))
    assert (first == second) == (one == other)
    assert first == layout.identifier(first)
    assert layout.incoming_table(YELLOW, JANUARY, one) == layout.identifier(
        layout.incoming_table(YELLOW, JANUARY, one)
    )


@pytest.mark.parametrize("name", ["", "a b", "a-b", "A", "1a", "a;drop", "a`", "ä", "x" * 64])
def test_what_is_not_an_identifier_never_reaches_sql(name):
    with pytest.raises(PermanentError, match="cannot be a table or column name"):
        layout.identifier(name)


def test_a_month_that_the_dataset_cannot_have_has_no_place():
    with pytest.raises(InvalidPeriodError):
        layout.typed_object(YELLOW, None)


def test_a_dag_is_named_by_dataset_and_family():
    assert layout.dag_id("yellow", "to_lake") == "yellow_to_lake"
