"""Several months at once, in memory: they become what the stages make of each. The SQL is really run."""

from __future__ import annotations

import pytest
import taxi
from fakes import Stack

from elt import bulk, status
from elt.errors import TransientError
from elt.layout import typed_object
from elt.periods import Month, Partition
from elt.warehouse import audits

MONTHS = ["2024-01", "2024-02", "2024-03", "2024-04"]
STEPS = ("lake", "warehouse", "mart")
STAGES = ("download", "conform", "stage", "audit", "publish", "mart")
ROWS = {"2024-01": 20, "2024-02": 21, "2024-03": 22, "2024-04": 23}


@pytest.fixture
def stack(stack: Stack) -> Stack:
    for month, rows in ROWS.items():
        stack.publisher.publish("yellow", month, taxi.parquet(taxi.trips(month, rows)))
    return stack


def run(stack: Stack, *steps: str, run_id: str = "bulk", months: list[str] = MONTHS) -> dict[str, str]:
    """What was left out, by month, of all the steps."""
    requests = [stack.request("yellow", month, run_id) for month in months]
    left = dict[str, str]()
    for step in steps or STEPS:
        left |= bulk.run(step, requests, stack.connections)["failed"]
    return left


def missing(stack: Stack) -> dict[str | None, tuple[str, ...]]:
    wanted = [Partition("yellow", Month.parse(month)) for month in MONTHS]
    return {p.key: lacking for p, lacking in status.missing(stack.connections, wanted).items() if lacking}


def held(stack: Stack) -> list[object]:
    """Rows of the table, the marts and the load log, whoever wrote them and when."""
    marts = [
        f"SELECT * EXCLUDE (dataset) FROM d.{name} ORDER BY ALL"
        for name in sorted(stack.bigquery.tables)
        if name.startswith("mart_")
    ]
    log = (
        "SELECT month, stage, row_count, quarantined_count, byte_count, checksum, schema_version, source "
        "FROM d.load_log ORDER BY ALL"
    )
    judged = "SELECT month, audit, severity, passed FROM d.audit_results ORDER BY ALL"
    return [
        stack.bigquery.sql(text)
        for text in ("SELECT * FROM d.yellow_trips ORDER BY ALL", *marts, log, judged)
    ]


def test_what_is_loaded_together_is_what_is_loaded_one_by_one(stack: Stack) -> None:
    alone = Stack()
    alone.publisher.files = stack.publisher.files
    for month in MONTHS:
        for stage in STAGES:
            alone.run(stage, "yellow", month)
    assert run(stack) == {}
    assert missing(stack) == {}
    assert held(stack) == held(alone)


def test_no_job_but_the_load_is_one_of_each_partition(stack: Stack) -> None:
    run(stack)
    named = [job_id.split("-")[1] for job_id in stack.bigquery.jobs if job_id.startswith("taxiway-")]
    assert sorted(named) == ["audit", "mart", "publish", *["stage"] * len(MONTHS)]
    assert not [name for name in stack.bigquery.tables if name.startswith("staging_")]


def test_what_is_loaded_is_left_as_it_is_and_still_announced(stack: Stack) -> None:
    run(stack)
    jobs, asked = len(stack.bigquery.jobs), len(stack.publisher.requests)
    requests = [stack.request("yellow", month, "again") for month in MONTHS]
    for step in STEPS:
        assert bulk.run(step, requests, stack.connections)["done"] == MONTHS, "its event may have been lost"
    assert len(stack.publisher.requests) == asked
    assert [job for job in list(stack.bigquery.jobs)[jobs:] if job.startswith("taxiway-")] == []


def test_a_period_that_is_late_keeps_no_other_waiting(stack: Stack) -> None:
    del stack.publisher.files[Partition("yellow", Month(2024, 2))]
    left = run(stack)
    assert list(left) == ["2024-02"]
    assert "not published" in left["2024-02"]
    assert list(missing(stack)) == ["2024-02"]


def test_a_file_that_is_broken_keeps_no_other_waiting(stack: Stack) -> None:
    stack.publisher.publish("yellow", "2024-03", b"PAR1 and no more")
    left = run(stack)
    assert list(left) == ["2024-03"]
    assert "yellow_tripdata_2024-03.parquet" in left["2024-03"]
    assert list(missing(stack)) == ["2024-03"]


def test_what_an_audit_stops_is_not_published_with_the_others(stack: Stack) -> None:
    run(stack, "lake")
    with stack.connections.lake() as lake:
        february = lake.find(typed_object(stack.request("yellow", "2024-02").dataset, Month(2024, 2)))
        assert february
        lake.describe(february, {"rows": "99"})
    left = run(stack)
    assert list(left) == ["2024-02"]
    assert "2024-02: nothing was published, audit failed: " in left["2024-02"]
    assert missing(stack) == {"2024-02": ("warehouse", "mart")}
    counted = "SELECT source_month::text, count(*) FROM d.yellow_trips GROUP BY 1 ORDER BY 1"
    assert dict(stack.bigquery.sql(counted)) == {
        f"{month}-01": ROWS[month] for month in MONTHS if month != "2024-02"
    }


def test_a_month_is_judged_against_those_that_are_staged_with_it(stack: Stack) -> None:
    table = taxi.trips("2024-03", 30)
    column = "passenger_count"
    empty = table.set_column(table.schema.get_field_index(column), column, [[None] * table.num_rows])
    stack.publisher.publish("yellow", "2024-03", taxi.parquet(empty))
    run(stack)
    found = stack.bigquery.sql(
        "SELECT month, found FROM d.audit_results WHERE audit = 'null_share' AND NOT passed"
    )
    assert [month for month, _ in found] == ["2024-03"]
    assert column in found[0][1]


def test_what_was_done_before_a_source_fails_is_not_done_again(stack: Stack) -> None:
    run(stack, "lake", months=MONTHS[:2])
    stack.publisher.fault = TransientError("the line is cut")
    with pytest.raises(TransientError, match="cut"):
        run(stack, "lake")
    stack.publisher.fault, asked = None, len(stack.publisher.requests)
    assert run(stack) == {}
    assert {partition.key for _, partition in stack.publisher.requests[asked:]} == set(MONTHS[2:])
    assert missing(stack) == {}


def test_a_run_that_was_killed_before_it_published_goes_on_with_what_it_has_staged(stack: Stack) -> None:
    run(stack, "lake")
    staged = len(stack.bigquery.jobs)
    # Killed between publication and the next task: the marts are missing, and nothing else.
    run(stack, "warehouse")
    assert missing(stack) == dict.fromkeys(MONTHS, ("mart",))
    assert len(stack.bigquery.jobs) > staged
    assert run(stack) == {}
    assert missing(stack) == {}


def test_audits_of_many_columns_are_scripts_that_bigquery_takes(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "SUBQUERIES", 1)
    monkeypatch.setattr(audits, "TEXT", 1)
    assert run(stack) == {}
    assert missing(stack) == {}
    named = [job_id for job_id in stack.bigquery.jobs if job_id.startswith("taxiway-audit-")]
    assert len(named) == len(MONTHS)
    judged = stack.bigquery.sql("SELECT month, count(*) FROM d.audit_results GROUP BY month ORDER BY month")
    assert judged == [(month, len(stack.request("yellow", month).dataset.audits)) for month in MONTHS]
