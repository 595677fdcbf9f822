"""The load log, in memory; its SQL is really run."""

import datetime as dt
from dataclasses import replace

import pytest

from elt.catalogue.registry import DATASETS
from elt.errors import PermanentError
from elt.periods import Month, Partition
from elt.provenance import Loaded, Origin
from elt.warehouse import load_log

ORIGIN = Origin("c", "v", '"e"', "https://a.test")
LOADED = Loaded(ORIGIN, 7, 2, 99)
JANUARY, FEBRUARY = Partition("yellow", Month(2024, 1)), Partition("yellow", Month(2024, 2))
ZONES = Partition("zones")


@pytest.fixture
def warehouse(stack):
    return stack.warehouse()


def record(stack, warehouse, partition=JANUARY, stage="typed", loaded=LOADED, run_id="run", **how):
    request = stack.request(partition.dataset, partition.key, run_id)
    load_log.record(warehouse, request, stage, loaded, **how)


def count(stack):
    return stack.bigquery.sql("SELECT count(*) FROM d.load_log")[0][0]


def test_a_row_is_read_as_it_was_recorded(stack, warehouse):
    before = dt.datetime.now(dt.UTC)
    record(stack, warehouse)
    row = load_log.latest(warehouse)[JANUARY, "typed"]
    assert (row.partition, row.stage, row.origin) == (JANUARY, "typed", ORIGIN)
    assert (row.rows, row.quarantined, row.bytes, row.run_id) == (7, 2, 99, "run")
    assert before <= row.started_at <= row.finished_at <= dt.datetime.now(dt.UTC)


def test_raw_bytes_have_no_rows(stack, warehouse):
    record(stack, warehouse, stage="raw")
    row = load_log.latest(warehouse)[JANUARY, "raw"]
    assert (row.rows, row.quarantined, row.bytes) == (None, None, 99)


def test_what_was_not_noted_is_none(stack, warehouse):
    record(stack, warehouse, ZONES, loaded=replace(LOADED, origin=Origin("c", "v")))
    row = load_log.latest(warehouse)[ZONES, "typed"]
    assert (row.partition.period, row.origin.source_etag, row.origin.source) == (None, None, None)


def test_the_latest_row_is_the_one_that_finished_last(stack, warehouse):
    """Runs overlap: the one that began first may be the last to publish."""
    record(stack, warehouse, run_id="slow")
    record(stack, warehouse, run_id="quick")
    stack.bigquery.sql("UPDATE d.load_log SET started_at = now() - INTERVAL 1 DAY WHERE run_id = 'quick'")
    assert load_log.latest(warehouse)[JANUARY, "typed"].run_id == "quick"
    stack.bigquery.sql("UPDATE d.load_log SET finished_at = now() - INTERVAL 1 DAY WHERE run_id = 'quick'")
    assert load_log.latest(warehouse)[JANUARY, "typed"].run_id == "slow"


def test_each_stage_of_each_partition_has_a_latest_row(stack, warehouse):
    for partition in (JANUARY, FEBRUARY, ZONES):
        for stage in ("typed", "warehouse"):
            record(stack, warehouse, partition, stage)
    assert len(load_log.latest(warehouse)) == 6


@pytest.mark.parametrize("partitions", [[JANUARY], [ZONES], [FEBRUARY, ZONES], []])
def test_only_the_partitions_asked_for_are_read(stack, warehouse, partitions):
    for partition in (JANUARY, FEBRUARY, ZONES, Partition("green", Month(2024, 1))):
        record(stack, warehouse, partition)
    assert {partition for partition, _ in load_log.latest(warehouse, partitions)} == set(partitions)


def test_one_partition_is_found_by_plain_comparisons(stack, warehouse):
    """BigQuery reads few blocks of a clustered table then, and all of it where a function is in the way."""
    record(stack, warehouse)
    load_log.latest(warehouse, [JANUARY])
    query = stack.bigquery.queries[-1]
    assert "(dataset = @dataset_0 AND month BETWEEN @first_0 AND @last_0)" in query["query"]
    values = {p["name"]: p["parameterValue"]["value"] for p in query["queryParameters"]}
    assert values == {"dataset_0": "yellow", "first_0": "2024-01", "last_0": "2024-01"}


def test_a_repeated_row_is_added_only_if_it_says_something_else(stack, warehouse):
    record(stack, warehouse)
    record(stack, warehouse, repeated=True)
    assert count(stack) == 1
    record(stack, warehouse)
    assert count(stack) == 2, "what was done is a row, whatever the last one says"


@pytest.mark.parametrize(
    "origin",
    [
        replace(ORIGIN, checksum="d"),
        replace(ORIGIN, schema_version="w"),
        replace(ORIGIN, source="https://b.test"),
        replace(ORIGIN, source=None),
    ],
)
def test_other_bytes_rules_or_another_source_are_something_else(stack, warehouse, origin):
    record(stack, warehouse)
    record(stack, warehouse, loaded=replace(LOADED, origin=origin), repeated=True)
    assert load_log.latest(warehouse)[JANUARY, "typed"].origin == origin


def test_a_repeated_row_is_compared_with_the_latest_of_its_own_kind(stack, warehouse):
    other = replace(LOADED, origin=replace(ORIGIN, checksum="d"))
    record(stack, warehouse, stage="raw")
    record(stack, warehouse, FEBRUARY)
    record(stack, warehouse, ZONES)
    record(stack, warehouse, repeated=True)
    record(stack, warehouse, ZONES, repeated=True)
    assert count(stack) == 4
    record(stack, warehouse, loaded=other)
    record(stack, warehouse, repeated=True)
    assert count(stack) == 6, "the latest row says something else"


def test_where_there_is_no_log_nothing_is_loaded_and_nothing_is_made(stack, warehouse):
    assert load_log.latest(warehouse) == {}
    assert stack.bigquery.tables == {}


def test_a_row_makes_the_tables_it_needs(stack, warehouse):
    record(stack, warehouse)
    assert {"load_log", "audit_results", "yellow_trips", "hourly_demand"} <= set(stack.bigquery.tables)


@pytest.fixture
def older(stack, warehouse):
    """The log of a version that did not note the source."""
    record(stack, warehouse)
    stack.bigquery.sql("ALTER TABLE d.load_log DROP COLUMN source")
    fields = stack.bigquery.tables["load_log"]["schema"]["fields"]
    fields.remove(next(field for field in fields if field["name"] == "source"))
    return warehouse


def test_the_log_of_an_older_version_gets_its_column_when_a_row_is_added(stack, older):
    record(stack, older, run_id="new")
    assert stack.bigquery.sql("SELECT run_id, source FROM d.load_log ORDER BY finished_at") == [
        ("run", None),
        ("new", "https://a.test"),
    ]


def test_the_log_of_an_older_version_gets_its_column_when_it_is_read(older):
    row = load_log.latest(older)[JANUARY, "typed"]
    assert (row.origin.checksum, row.origin.source) == ("c", None)


def test_a_log_that_cannot_be_read_for_another_reason_says_so(stack, warehouse):
    record(stack, warehouse)
    stack.bigquery.outcomes = [{"reason": "invalidQuery", "message": "no"}]
    with pytest.raises(PermanentError, match="BigQuery: query log: no"):
        load_log.latest(warehouse)


def test_a_job_is_named_by_stack_run_and_what_it_works_with(stack):
    request = stack.request("yellow", "2024-01", awaited="that one")
    work = load_log.work_of("audit", request, "1-2")
    assert work.labels == {"app": "taxiway", "dataset": "yellow", "step": "audit", "period": "2024-01"}
    assert work.awaited == "that one"
    assert work.id.startswith("taxiway-audit-yellow-2024-01-")
    for other in (
        replace(request, settings=replace(request.settings, dataset="other")),
        replace(request, run_id="another"),
        replace(request, period=Month(2024, 2)),
    ):
        assert load_log.work_of("audit", other, "1-2").id != work.id
    assert load_log.work_of("audit", request, "1-3").id != work.id
    assert load_log.work_of("stage", request, "1-2").id != work.id
    assert load_log.work_of("audit", replace(request, force=True), "1-2").id == work.id


def test_a_job_of_a_dataset_without_months_names_none(stack):
    work = load_log.work_of("audit", stack.request("zones", None), "1")
    assert "period" not in work.labels
    assert work.id.startswith("taxiway-audit-zones-")
    assert "None" not in work.id


def test_ids_and_labels_are_such_as_bigquery_takes(stack):
    import re

    for name, ds in DATASETS.items():
        work = load_log.work_of("publish", stack.request(name, str(ds.first or "")), "1" * 13)
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,1000}", work.id)
        assert all(re.fullmatch(r"[a-z0-9_-]{1,63}", value) for value in work.labels.values())
