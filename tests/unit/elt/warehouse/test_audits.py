"""Every audit judges a staged month, and what it found is kept; in memory."""

from collections import Counter
from dataclasses import replace
from uuid import uuid4

import pytest
import taxi
from product import DATASETS

from elt import status as report
from elt.errors import AuditError
from elt.layout import staging_table
from elt.periods import Month
from elt.stores.bigquery import Work
from elt.warehouse import audits

LAKE = ("download", "conform")
RESULTS = "SELECT month, run_id, audit, severity, passed, found FROM TABLE ORDER BY month, run_id, audit"
KEPT = ("row_count", "key_present", "inside_period", "quarantine_share", "null_share")
MONEY = ("amounts_add_up", "amounts_plausible")
EXPECTED = {
    "yellow": {*KEPT, *MONEY, "durations"},
    "green": {*KEPT, *MONEY, "durations"},
    "fhv": {*KEPT, "durations"},
    "fhvhv": {*KEPT, "amounts_plausible", "durations"},
    "zones": {"row_count", "key_present", "key_unique"},
}
STOPPING = {"row_count", "key_present", "inside_period", "key_unique"}


def run(stack, *names, run_id="run", ds="yellow", month="2024-01"):
    return [stack.run(stage, ds, month, run_id) for stage in names]


@pytest.fixture
def staged(stack):
    """A function that stages a month, spoilt behind the pipeline's back."""

    def put(change="", month="2024-01", run_id="run", rows=100):
        stack.publisher.publish("yellow", month, taxi.parquet(taxi.trips(month, rows)))
        run(stack, *LAKE, "stage", month=month, run_id=run_id)
        if change:
            name = staging_table(DATASETS["yellow"], Month.parse(month), run_id)
            spoil(stack, change, name)

    return put


def spoil(stack, change, table):
    with stack.warehouse() as bq:
        bq.execute(change.replace("TABLE", bq.name(table)), {}, Work(f"spoil-{uuid4().hex}", {}))


def select(stack, query, table):
    with stack.warehouse() as bq:
        return bq.query(query.replace("TABLE", bq.name(table)), {}, {"app": "test"})


def results(stack):
    return select(stack, RESULTS, "audit_results")


def test_the_audits_of_every_dataset_are_these():
    found = {ds.name: {audit.name for audit in ds.audits} for ds in DATASETS.values()}
    assert found == EXPECTED
    severities = {(audit.name, audit.severity) for ds in DATASETS.values() for audit in ds.audits}
    assert {name for name, severity in severities if severity == "stop"} == STOPPING


@pytest.mark.parametrize(
    ("change", "audit"),
    [
        ("DELETE FROM TABLE WHERE vendor_id = 1", r"row_count \(50 rows staged, 100 in the lake\)"),
        ("UPDATE TABLE SET tpep_pickup_datetime = NULL WHERE vendor_id = 1", r"key_present \(50 rows"),
        ("UPDATE TABLE SET tpep_pickup_datetime = DATETIME '2008-01-01 00:00:00' WHERE vendor_id = 2",
         r"inside_period \(50 rows of another period\)"),
    ],
)  # fmt: skip
def test_every_stopping_audit_can_fail(stack, staged, change, audit):
    staged(change)
    with pytest.raises(AuditError, match=audit):
        run(stack, "audit")


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ("UPDATE TABLE SET total_amount = -1 WHERE vendor_id = 1",
         "amounts_plausible: 50 of 100 trips charged below 0"),
        ("UPDATE TABLE SET mta_tax = mta_tax + 0.1 WHERE vendor_id = 1",
         "amounts_add_up: 50 of 100 totals are not the sum of their parts"),
        ("UPDATE TABLE SET tpep_dropoff_datetime = DATETIME '2008-01-01 00:00:00' WHERE vendor_id = 1",
         "durations: 50 of 100 trips end before they begin"),
        ("UPDATE TABLE SET tpep_dropoff_datetime = DATETIME '2024-02-20 00:00:00' WHERE vendor_id = 1",
         "durations: 50 of 100 trips end before they begin, or after more than a day"),
    ],
)  # fmt: skip
def test_every_warning_audit_can_warn_and_does_not_stop(stack, staged, change, warning):
    staged(change)
    (audited,) = run(stack, "audit")
    assert [text for text in audited["warnings"] if text.startswith(warning)]
    run(stack, "publish")
    (entry,) = report.status(stack.connections)
    assert (entry["warehouse_rows"], entry["audit_failures"]) == (100, 0)
    assert entry["audit_warnings"] == len(audited["warnings"]) > 0


def test_a_zone_that_is_there_twice_stops_the_zones(stack):
    stack.publisher.publish("zones", None, taxi.ZONES_CSV + b'1,"Twice","Newark Airport","EWR"\n')
    with pytest.raises(AuditError, match=r"key_unique \(1 rows share their location_id with another\)"):
        run(stack, *LAKE, "stage", "audit", ds="zones", month=None)
    assert select(stack, "SELECT COUNT(*) AS n FROM TABLE", "zones") == [{"n": 0}]


def test_a_column_that_is_null_more_often_than_in_the_months_before_is_told(stack, staged):
    for month in ("2023-11", "2023-12"):
        staged(month=month)
        run(stack, "audit", "publish", month=month)
    staged("UPDATE TABLE SET store_and_fwd_flag = NULL WHERE vendor_id = 1")
    (audited,) = run(stack, "audit")
    assert audited["warnings"] == ["null_share: store_and_fwd_flag 50.0 % null, 0.0 % before"]


def test_the_first_month_and_one_after_a_long_gap_have_nothing_to_be_compared_with(stack, staged):
    staged(month="2023-09")
    run(stack, "audit", "publish", month="2023-09")
    for month in ("2024-01", "2023-06"):
        staged("UPDATE TABLE SET store_and_fwd_flag = NULL WHERE TRUE", month=month)
        (audited,) = run(stack, "audit", month=month)
        assert audited["warnings"] == []


def test_a_column_that_always_was_null_is_no_news_nor_is_one_that_is_filled_again(stack, staged):
    staged("UPDATE TABLE SET store_and_fwd_flag = NULL WHERE vendor_id = 1", month="2023-12")
    run(stack, "audit", "publish", month="2023-12")
    for number, change in enumerate(("UPDATE TABLE SET store_and_fwd_flag = NULL WHERE vendor_id = 1", "")):
        staged(change, run_id=f"run {number}")
        (audited,) = run(stack, "audit", run_id=f"run {number}")
        assert audited["warnings"] == []


def test_what_was_found_is_kept_once_for_each_run_however_often_it_is_asked(stack, staged):
    staged()
    for _ in range(3):
        run(stack, "audit")
    kept = results(stack)
    assert Counter(row["audit"] for row in kept) == dict.fromkeys(EXPECTED["yellow"], 1)
    assert {(row["month"], row["run_id"]) for row in kept} == {("2024-01", "run")}
    assert "100 rows staged, 100 in the lake" in {row["found"] for row in kept}


def test_what_was_found_of_a_month_that_fails_is_kept_too_and_shown(stack, staged):
    staged("DELETE FROM TABLE WHERE vendor_id = 1")
    for _ in range(2):
        with pytest.raises(AuditError, match="row_count"):
            run(stack, "audit")
    failed = [row for row in results(stack) if not row["passed"]]
    assert [(row["audit"], row["severity"]) for row in failed] == [("row_count", "stop")]
    assert failed[0]["found"] == "50 rows staged, 100 in the lake"
    (entry,) = report.status(stack.connections)
    assert (entry["audit_failures"], entry["audit_warnings"], entry["warehouse_rows"]) == (1, 0, 0)


def test_the_status_is_that_of_the_latest_run(stack, staged):
    staged("DELETE FROM TABLE WHERE vendor_id = 1", run_id="bad")
    with pytest.raises(AuditError):
        run(stack, "audit", run_id="bad")
    staged(run_id="good")
    run(stack, "audit", "publish", run_id="good")
    (entry,) = report.status(stack.connections)
    assert (entry["audit_failures"], entry["audit_warnings"]) == (0, 0)
    assert {row["run_id"] for row in results(stack)} == {"bad", "good"}


def test_whoever_corrects_a_rule_and_asks_again_is_answered_by_the_new_one(stack, staged):
    staged("DELETE FROM TABLE WHERE vendor_id = 1")
    with pytest.raises(AuditError):
        run(stack, "audit")
    ds = DATASETS["yellow"]
    relaxed = replace(ds, audits=tuple(audit for audit in ds.audits if audit.name != "row_count"))
    assert run(stack, "audit", ds=relaxed)[0]["audits"] == len(relaxed.audits)


def test_an_environment_from_before_the_table_of_results_gets_it(stack, staged):
    staged()
    with stack.warehouse() as bq:
        bq.drop("audit_results")
        assert audits.Tally.latest(bq) == {}
    run(stack, "audit")
    assert len(results(stack)) == len(EXPECTED["yellow"])
