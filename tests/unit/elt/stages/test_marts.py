"""Published months → marts, in memory; the SQL is really run."""

import datetime as dt
from dataclasses import replace

import pytest
import taxi

from elt.catalogue.registry import DATASETS
from elt.errors import PermanentError
from elt.periods import Month, Partition
from elt.provenance import Origin
from elt.stages.warehouse import is_current_mart, mart_origin
from elt.warehouse.load_log import LogRow

YELLOW = DATASETS["yellow"]
JANUARY = Partition("yellow", Month(2024, 1))
NOON = dt.datetime(2024, 1, 5, 12, tzinfo=dt.UTC)
BEFORE = ("download", "conform", "stage", "audit", "publish")


def publish(stack, rows=20, month="2024-01", run_id="run"):
    stack.publisher.publish("yellow", month, taxi.parquet(taxi.trips(month, rows)))
    for stage in BEFORE:
        stack.run(stage, "yellow", month, run_id)


def mart(stack, run_id="run", dataset="yellow", month="2024-01", **how):
    return stack.run("mart", dataset, month, run_id, **how)


def trips(stack, name):
    query = f"SELECT source_month::text, sum(trips)::int FROM d.mart_{name} GROUP BY 1 ORDER BY 1"
    return dict(stack.bigquery.sql(query))


def logged(stack):
    return stack.bigquery.sql(
        "SELECT row_count, run_id FROM d.load_log WHERE stage = 'mart' ORDER BY finished_at"
    )


def jobs(stack):
    return [job_id for job_id in stack.bigquery.jobs if job_id.startswith("taxiway-mart-")]


def test_a_month_goes_into_every_mart_that_its_dataset_feeds(stack):
    publish(stack)
    done = mart(stack)
    names = [feed.mart for feed in YELLOW.feeds]
    assert (done["marts"], done["reused"]) == (names, False)
    counted = [stack.bigquery.sql(f"SELECT count(*) FROM d.mart_{name}")[0][0] for name in names]
    assert all(counted)
    assert done["mart_rows"] == sum(counted)
    assert logged(stack) == [(sum(counted), "run")]
    assert all(trips(stack, name) == {"2024-01-01": 20} for name in names)


def test_only_the_month_that_changed_is_rebuilt(stack):
    for month in ("2024-01", "2024-02"):
        publish(stack, 20, month)
        mart(stack, month=month)
    publish(stack, 7, run_id="another")
    mart(stack, "another")
    assert trips(stack, "hourly_demand") == {"2024-01-01": 7, "2024-02-01": 20}


def test_the_same_again_changes_nothing(stack):
    publish(stack)
    first = mart(stack)
    again = mart(stack, "another")
    assert again == {**first, "reused": True}
    assert (len(logged(stack)), len(jobs(stack))) == (1, 1)


def test_force_builds_again_what_its_job_has_built_before(stack):
    publish(stack)
    mart(stack)
    stack.bigquery.sql("DELETE FROM d.mart_hourly_demand")
    for number in range(2):
        moment = NOON + dt.timedelta(seconds=number)
        assert not mart(stack, force=True, started_at=moment)["reused"]
    assert trips(stack, "hourly_demand") == {"2024-01-01": 20}
    assert (len(logged(stack)), len(jobs(stack))) == (3, 3)


def test_a_forced_mart_that_comes_back_finds_its_job(stack):
    publish(stack)
    for _ in range(2):
        mart(stack, force=True, started_at=NOON)
    assert len(jobs(stack)) == 1


def test_a_mart_that_is_added_is_built_of_months_that_are_there(stack):
    publish(stack)
    without = replace(YELLOW, feeds=tuple(feed for feed in YELLOW.feeds if feed.mart != "payment_mix"))
    mart(stack, dataset=without)
    assert trips(stack, "payment_mix") == {}
    assert not mart(stack, "another")["reused"]
    assert trips(stack, "payment_mix") == {"2024-01-01": 20}


def test_a_dataset_that_feeds_no_mart_has_nothing_to_do(stack):
    publish(stack)
    done = mart(stack, dataset=replace(YELLOW, feeds=()))
    assert (done["marts"], done["mart_rows"], done["reused"]) == ([], 0, True)
    assert jobs(stack) == []


def test_all_marts_of_a_month_change_at_once_with_their_log(stack):
    publish(stack)
    mart(stack)
    publish(stack, 7, run_id="another")
    # The last statement but the log fails: what the others have done is undone.
    stack.bigquery.sql("ALTER TABLE d.mart_payment_mix RENAME COLUMN tips TO other")
    with pytest.raises(PermanentError):
        mart(stack, "another")
    assert trips(stack, "daily_zone_revenue") == {"2024-01-01": 20}
    assert len(logged(stack)) == 1


def test_a_mart_table_that_is_not_there_yet_is_made(stack):
    publish(stack)
    for name in ("payment_mix", "mart_payment_mix"):
        del stack.bigquery.tables[name]
    stack.bigquery.sql("DROP VIEW d.payment_mix; DROP TABLE d.mart_payment_mix")
    mart(stack)
    assert trips(stack, "payment_mix") == {"2024-01-01": 20}


def test_what_is_not_published_is_named(stack):
    with pytest.raises(PermanentError, match=r"yellow 2024-01: not in the warehouse\. Publish it first"):
        mart(stack)


def row(stage: str, checksum: str, version: str, finished: dt.datetime) -> LogRow:
    return LogRow(JANUARY, stage, 1, 0, 1, Origin(checksum, version), "run", finished, finished)


def test_marts_built_while_their_month_was_replaced_are_built_again():
    """They end later than the publication and are of what was there before it."""
    published = row("warehouse", "new", "v", NOON)
    version = mart_origin(YELLOW, published).schema_version
    later = NOON + dt.timedelta(seconds=9)
    assert not is_current_mart(YELLOW, row("mart", "old", version, later), published)
    assert not is_current_mart(YELLOW, row("mart", "new", "other SQL", later), published)
    assert not is_current_mart(YELLOW, None, published)
    assert is_current_mart(YELLOW, row("mart", "new", version, later), published)


def charged(stack, *amounts: float) -> dict[int, float]:
    """Revenue by zone of a month with trips of these amounts; every other one is of zone 1."""
    trips = taxi.with_column(taxi.trips(rows=len(amounts)), "total_amount", taxi.pa.array(amounts))
    stack.publisher.publish("yellow", "2024-01", taxi.parquet(trips))
    for stage in BEFORE:
        stack.run(stage, "yellow", "2024-01")
    mart(stack)
    return dict(stack.bigquery.sql("SELECT pu_location_id, revenue FROM d.mart_daily_zone_revenue"))


def test_half_a_cent_is_rounded_as_it_is_written_not_as_floating_point_has_it(stack):
    """1.005 + 1.01 is 2.01499… there, which one engine rounds up and another down."""
    assert charged(stack, 1.005, 9.0, 1.01)[1] == 2.02


def test_more_than_three_decimals_count(stack):
    assert charged(stack, 1.0049, 9.0, 1.0)[1] == 2.0


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), 1e300])
def test_what_is_no_decimal_is_not_left_out_of_a_sum(stack, amount):
    assert str(charged(stack, amount, 9.0, 1.0)[1]) == str(amount)


def test_totals_that_are_no_number_are_found(stack):
    totals = taxi.pa.array([float("nan")] * 20 + [14.75] * 80)
    trips = taxi.with_column(taxi.trips(), "total_amount", totals)
    stack.publisher.publish("yellow", "2024-01", taxi.parquet(trips))
    for stage in ("download", "conform", "stage"):
        stack.run(stage, "yellow", "2024-01")
    warnings = " ".join(stack.run("audit", "yellow", "2024-01")["warnings"])
    assert "amounts_plausible: 20 of 100 trips charged" in warnings
