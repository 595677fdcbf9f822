"""What there is and what is loaded, in memory: one definition for status, run and up."""

import pytest
import taxi
from fake_postgres import FakePostgres
from fake_storage import Object
from fakes import Stack

from elt import status
from elt.catalogue import model
from elt.catalogue.registry import DATASETS, MARTS
from elt.periods import Month, Partition

STAGES = ("download", "conform", "stage", "audit", "publish", "mart", "postgres")
JANUARY, FEBRUARY, ZONES = (
    Partition("yellow", Month(2024, 1)),
    Partition("yellow", Month(2024, 2)),
    Partition("zones"),
)
ALL = ("raw", "typed", "warehouse", "mart", "postgres")


@pytest.fixture
def stack() -> Stack:
    return Stack(FakePostgres())


def publish(stack, month="2024-01", rows=20, **how):
    stack.publisher.publish("yellow", month, taxi.parquet(taxi.trips(month, rows, **how)))


def load(stack, *stages, dataset="yellow", month="2024-01", run_id="run"):
    for stage in stages or STAGES:
        stack.run(stage, dataset, month, run_id)


def load_zones(stack):
    stack.publisher.publish("zones", None, taxi.ZONES_CSV)
    load(stack, *(stage for stage in STAGES if stage != "mart"), dataset="zones", month=None)


def missing(stack, *partitions):
    found = status.missing(stack.connections, partitions or [JANUARY])
    return found if partitions else found[JANUARY]


def entry(stack, partition=JANUARY):
    (found,) = status.status(stack.connections, [partition])
    return found


def test_a_partition_goes_through_the_stages_that_its_dataset_has():
    assert status.stages(DATASETS["yellow"]) == ALL
    assert status.stages(DATASETS["yellow"], has_postgres=False) == ALL[:-1]
    assert status.stages(DATASETS["zones"]) == ("raw", "typed", "warehouse", "postgres")
    plan = model.Dataset(name="plan", title="Plan", path="https://a.test/plan.svg")
    assert status.stages(plan) == ("raw",)


def test_a_month_is_partial_until_it_is_everywhere(stack):
    publish(stack)
    seen = []
    for stage in STAGES:
        load(stack, stage)
        seen.append((entry(stack)["state"], missing(stack)))
    assert seen == [
        ("partial", ALL[1:]),
        ("partial", ALL[2:]),
        ("partial", ALL[2:]),
        ("partial", ALL[2:]),
        ("partial", ALL[3:]),
        ("partial", ALL[4:]),
        ("loaded", ()),
    ]


def test_a_loaded_month_is_described(stack):
    publish(stack, strays=2)
    load(stack)
    found = entry(stack)
    raw = stack.objects()["raw/yellow/yellow_tripdata_2024-01.parquet"]
    assert found.pop("loaded_at").startswith("20")
    assert [text.partition(":")[0] for text in found.pop("audits")] == ["quarantine_share"]
    assert found == {
        "dataset": "yellow", "period": "2024-01", "raw_bytes": len(raw.content), "typed_rows": 18,
        "warehouse_rows": 18, "postgres_rows": 18, "quarantined_rows": 2, "drift": [], "audit_warnings": 1,
        "audit_failures": 0, "state": "loaded", "missing": [], "source": "https://publisher.test",
        "sample": False, "run_id": "run", "checksum": raw.metadata["checksum"],
    }  # fmt: skip


def test_everything_that_is_anywhere_is_described_in_the_catalogues_order(stack):
    load_zones(stack)
    for month in ("2024-02", "2024-01"):
        publish(stack, month)
        load(stack, "download", month=month)
    found = [(row["dataset"], row["period"], row["state"]) for row in status.status(stack.connections)]
    expected = [("yellow", "2024-01", "partial"), ("yellow", "2024-02", "partial"), ("zones", None, "loaded")]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert [name for name in DATASETS if name in ("yellow", "zones")] == list(
        dict.fromkeys(n for n, *_ in found)
    )


def test_only_what_is_asked_for_is_counted(stack):
    load_zones(stack)
    for month in ("2024-01", "2024-02"):
        publish(stack, month)
        load(stack, month=month)
    stack.bigquery.queries.clear()
    stack.storage.requests.clear()
    stack.connections.database.statements.clear()
    found = status.status(stack.connections, [FEBRUARY])
    assert [(row["dataset"], row["period"], row["state"]) for row in found] == [
        ("yellow", "2024-02", "loaded")
    ]
    asked = " ".join(query["query"] for query in stack.bigquery.queries)
    assert "WHERE source_month BETWEEN DATE '2024-02-01' AND DATE '2024-02-01'" in asked
    assert "`p.d.zones`" not in asked
    assert len(stack.bigquery.queries) == 3
    assert not [text for text in stack.connections.database.statements if '"zones"' in text]
    assert len(stack.storage.requests) == 2


def test_what_is_asked_for_and_nowhere_is_missing(stack):
    found = entry(stack)
    assert (found["state"], found["missing"], found["raw_bytes"]) == ("missing", list(ALL), 0)
    assert (found["run_id"], found["loaded_at"], found["source"]) == (None, None, None)


def test_an_empty_stack_has_nothing_to_report(stack):
    assert status.status(stack.connections) == []
    assert status.mart_head(stack.connections, MARTS["daily_zone_revenue"], 5) == []
    assert stack.bigquery.tables == {}, "looking makes nothing"


def test_a_republished_month_is_partial_until_it_is_loaded_everywhere(stack):
    publish(stack)
    load(stack)
    publish(stack, rows=7)
    load(stack, "download")
    assert (entry(stack)["state"], missing(stack)) == ("partial", ALL[1:])
    load(stack, *STAGES[1:], run_id="another")
    assert (entry(stack)["state"], entry(stack)["warehouse_rows"]) == ("loaded", 7)


def test_a_month_by_older_rules_is_not_loaded_for_status_nor_for_run(stack, monkeypatch):
    publish(stack)
    load(stack)
    monkeypatch.setattr(model, "CONFORM_RULES", -1)
    assert missing(stack) == ALL[1:]
    assert entry(stack)["state"] == "partial"
    load(stack, run_id="another")
    assert (entry(stack)["state"], missing(stack)) == ("loaded", ())


def test_rows_of_another_source_do_not_pass_for_the_real_ones(stack):
    stack.publisher.base_url = "http://127.0.0.1:9080"
    publish(stack)
    load(stack)
    assert missing(stack) == ()
    stack.publisher.base_url = "https://publisher.test"
    assert missing(stack) == ALL
    assert (entry(stack)["state"], entry(stack)["source"]) == ("partial", "http://127.0.0.1:9080")
    publish(stack, rows=7)
    load(stack, run_id="another")
    assert (entry(stack)["state"], missing(stack), entry(stack)["warehouse_rows"]) == ("loaded", (), 7)


def test_the_same_bytes_of_another_source_are_loaded_once_they_are_checked(stack):
    publish(stack)
    load(stack)
    stack.publisher.base_url = "https://mirror.test"
    load(stack, "download")
    assert missing(stack) == ()


def test_months_that_an_older_version_loaded_stay_loaded(stack):
    """Its log has no sources; the addresses of its raw objects tell them."""
    publish(stack)
    load(stack)
    stack.bigquery.sql("UPDATE d.load_log SET source = NULL")
    for stored in stack.objects().values():
        stored.metadata.pop("source", None)
    assert (missing(stack), entry(stack)["state"]) == ((), "loaded")
    stack.publisher.base_url = "https://other.test"
    assert missing(stack) == ALL


def test_a_mart_of_other_sql_or_of_rows_replaced_since_is_missing(stack):
    publish(stack)
    load(stack)
    stack.bigquery.sql("UPDATE d.load_log SET schema_version = 'older' WHERE stage = 'mart'")
    assert missing(stack) == ("mart",)
    assert entry(stack)["missing"] == ["mart"]
    stack.bigquery.sql("DELETE FROM d.load_log WHERE stage = 'warehouse'")
    assert missing(stack) == ("warehouse", "mart")


def test_rows_that_vanish_from_a_store_are_missed(stack):
    publish(stack)
    load(stack)
    stack.bigquery.sql("DELETE FROM d.yellow_trips WHERE vendor_id = 1")
    assert (entry(stack)["warehouse_rows"], entry(stack)["state"]) == (10, "partial")


@pytest.mark.parametrize("area", ["raw", "typed"])
def test_an_object_that_vanishes_or_is_exchanged_is_missed(stack, area):
    publish(stack)
    load(stack)
    (name,) = [name for name in stack.objects() if name.startswith(area)]
    stack.objects()[name].metadata["checksum"] = "of another"
    assert entry(stack)["state"] == "partial"
    del stack.objects()[name]
    assert entry(stack)["state"] == "partial"


def test_where_there_is_no_postgres_nothing_is_missing_there():
    stack = Stack()
    publish(stack)
    load(stack, *STAGES[:-1])
    assert (missing(stack), entry(stack)["state"], entry(stack)["postgres_rows"]) == ((), "loaded", None)


def test_objects_of_somebody_else_are_left_out(stack):
    publish(stack)
    load(stack, "download")
    (stored,) = stack.objects().values()
    stack.objects()["raw/mine"] = type(stored)(b"", 99)
    assert len(status.status(stack.connections)) == 1


def test_a_dataset_that_is_in_the_catalogue_no_more_is_left_out(stack):
    publish(stack)
    load(stack, "download")
    for stored in stack.objects().values():
        stored.metadata["dataset"] = "of yesterday"
    stack.bigquery.sql("UPDATE d.load_log SET dataset = 'of yesterday'")
    assert status.status(stack.connections) == []


def test_an_older_versions_empty_month_is_no_month(stack):
    load_zones(stack)
    for stored in stack.objects().values():
        stored.metadata["month"] = ""
    assert entry(stack, ZONES)["state"] == "loaded"


def test_several_partitions_are_told_apart(stack):
    publish(stack)
    load(stack)
    load_zones(stack)
    assert missing(stack, JANUARY, FEBRUARY, ZONES) == {JANUARY: (), FEBRUARY: ALL, ZONES: ()}


def test_failed_audits_are_counted(stack):
    publish(stack)
    load(stack, "download", "conform", "stage", "audit")
    stack.bigquery.sql("UPDATE d.audit_results SET passed = FALSE WHERE audit IN ('row_count', 'durations')")
    found = entry(stack)
    assert (found["audit_failures"], found["audit_warnings"]) == (1, 1)
    assert [text.partition(": ")[0] for text in found["audits"]] == ["row_count", "durations"]
    assert "20 rows staged" in found["audits"][0]


def test_the_first_rows_of_a_mart_are_those_that_its_preview_names(stack):
    publish(stack)
    load(stack)
    load_zones(stack)
    mart = MARTS["daily_zone_revenue"]
    rows = status.mart_head(stack.connections, mart, 2)
    assert [tuple(row) for row in rows] == [mart.preview.columns] * 2
    assert rows[0]["pickup_date"] == "2024-01-01"


def test_an_object_that_somebody_else_has_put_there_does_not_end_the_report(stack):
    objects = stack.objects()
    objects["raw/yellow/odd"] = Object(b"", 1, {"dataset": "yellow", "month": "x'; DROP"})
    facts = {"dataset": "yellow", "month": "2024-01", "rows": "abc", "quarantined": "-1e9"}
    objects["typed/yellow/odd.parquet"] = Object(b"", 2, facts)
    [found] = status.status(stack.connections)
    assert (found["period"], found["typed_rows"], found["state"]) == ("2024-01", 0, "missing")
