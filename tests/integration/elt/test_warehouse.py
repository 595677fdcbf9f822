"""typed/ → staging → audit → warehouse → mart, on the BigQuery emulator."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import taxi
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery import DEFAULT_RETRY, Client

from elt import status as report
from elt.catalogue.registry import DATASETS, MARTS
from elt.errors import AuditError, PermanentError, TransientError
from elt.layout import staging_table, typed_object
from elt.periods import Month
from elt.stores.bigquery import Warehouse
from elt.warehouse.tables import ensure

pytestmark = pytest.mark.emulators
LAKE = ("download", "conform")
WAREHOUSE = ("stage", "audit", "publish", "mart")


def run(stack, *stages, run_id="run", ds="yellow", month="2024-01", **how):
    return [stack.run(stage, ds, month, run_id, **how) for stage in stages]


@pytest.fixture
def typed(stack, faulty_source):
    """A function that puts a month into the lake."""

    def put(rows=100, month="2024-01", **how):
        faulty_source.serve(taxi.YELLOW.format(month), taxi.parquet(taxi.trips(month, rows, **how)))
        run(stack, *LAKE, month=month)

    return put


def count(stack, table="yellow_trips"):
    return stack.select("SELECT COUNT(*) AS n FROM TABLE", table)[0]["n"]


def tables(stack):
    with stack.warehouse() as bq:
        return {name for name in bq.tables() if name.startswith("staging")}


def test_a_month_goes_through_staging_and_audits_into_the_table(stack, typed):
    typed(strays=2)
    staged, audited, published = run(stack, "stage", "audit", "publish")
    assert staged["staging"] == staging_table(DATASETS["yellow"], Month(2024, 1), "run")
    assert (audited["audits"], audited["warnings"]) == (8, ["quarantine_share: 2 of 100 rows in quarantine"])
    assert (published["rows"], published["quarantined"]) == (98, 2)
    query = "SELECT COUNT(*) AS n, MIN(source_month) AS month, SUM(total_amount) AS total FROM TABLE"
    total = sum(taxi.trips(strays=2)["total_amount"].to_pylist()[2:])
    found = stack.select(query)[0]
    assert (found["n"], found["month"]) == (98, dt.date(2024, 1, 1))
    assert found["total"] == pytest.approx(total)
    assert tables(stack) == set()


def test_publishing_writes_the_load_log_in_the_same_transaction(stack, typed):
    typed(strays=2)
    before = dt.datetime.now(dt.UTC)
    run(stack, "stage", "audit", "publish")
    row = stack.log("warehouse")
    assert (row.rows, row.quarantined, row.run_id) == (98, 2, "run")
    assert row.origin == stack.log("typed").origin
    assert before <= row.started_at <= row.finished_at <= dt.datetime.now(dt.UTC)


def test_a_month_published_again_replaces_itself_and_nothing_else(stack, typed):
    for month, rows in (("2024-01", 50), ("2024-02", 60)):
        typed(rows, month)
        run(stack, *WAREHOUSE, month=month)
    typed(70)
    run(stack, *WAREHOUSE, run_id="another")
    query = "SELECT source_month, COUNT(*) AS n FROM TABLE GROUP BY source_month ORDER BY source_month"
    assert [row["n"] for row in stack.select(query)] == [70, 60]


def test_the_same_again_changes_nothing(stack, typed):
    typed()
    run(stack, *WAREHOUSE)
    log, created = stack.logs(), stack.select("SELECT COUNT(*) AS n FROM TABLE", "load_log")
    assert all(done["reused"] for done in run(stack, *WAREHOUSE, run_id="another"))
    assert stack.logs() == log
    assert stack.select("SELECT COUNT(*) AS n FROM TABLE", "load_log") == created


def test_force_publishes_again(stack, typed):
    typed()
    run(stack, *WAREHOUSE)
    assert not any(done["reused"] for done in run(stack, *WAREHOUSE, run_id="another", force=True))
    assert stack.log("mart").run_id == "another"
    assert count(stack) == 100


def test_each_stage_may_be_repeated_in_its_run(stack, typed):
    typed()
    run(stack, "stage", "stage", "audit", "audit", "publish", "publish", "audit", "stage", "mart", "mart")
    assert count(stack) == 100
    assert count(stack, "load_log") == 4, "raw, typed, warehouse, mart: each once"


def test_a_failing_audit_publishes_nothing_and_says_why(stack, typed):
    typed(50)
    run(stack, *WAREHOUSE)
    typed(60)
    with stack.lake() as lake:
        stored = lake.find(typed_object(DATASETS["yellow"], Month(2024, 1)))
        lake.describe(stored, {"rows": "61"})
    run(stack, "stage", run_id="bad")
    reason = r"yellow 2024-01: nothing was published, audit failed: row_count \(60 rows staged, 61 in"
    with pytest.raises(AuditError, match=reason):
        run(stack, "audit", run_id="bad")
    assert count(stack) == 50
    assert stack.log("warehouse").run_id == "run"


def test_zones_are_replaced_whole(stack, faulty_source):
    run(stack, *LAKE, *WAREHOUSE, ds="zones", month=None)
    faulty_source.serve(taxi.ZONES, taxi.ZONES_CSV.replace(b"264", b"265"))
    run(stack, *LAKE, *WAREHOUSE, ds="zones", month=None, run_id="another")
    query = "SELECT location_id FROM TABLE ORDER BY location_id"
    assert [row["location_id"] for row in stack.select(query, "zones")] == [1, 2, 265]


def test_a_publication_that_fails_leaves_the_old_month_and_no_log_row(stack, typed):
    typed(50)
    run(stack, *WAREHOUSE)
    typed(60)
    run(stack, "stage", run_id="bad")
    stack.sql("ALTER TABLE {} RENAME COLUMN run_id TO other", "load_log")
    with pytest.raises(PermanentError, match=r"BigQuery: job taxiway-publish-yellow-2024-01-.*run_id"):
        run(stack, "publish", run_id="bad")
    stack.sql("ALTER TABLE {} RENAME COLUMN other TO run_id", "load_log")
    assert count(stack) == 50
    assert stack.log("warehouse").rows == 50
    run(stack, "publish", run_id="bad")
    assert count(stack) == 60, "a failed job does not keep its work from being done"


def test_the_mart_counts_trips_and_revenue_by_day_and_zone_with_names(stack, typed):
    run(stack, *LAKE, *WAREHOUSE, ds="zones", month=None)
    typed()
    run(stack, *WAREHOUSE)
    trips = taxi.trips().to_pylist()
    of_newark = [t for t in trips if t["PULocationID"] == 1 and t["tpep_pickup_datetime"].day == 1]
    revenue = round(sum(trip["total_amount"] for trip in of_newark), 2)
    expected = {"dataset": "yellow", "pickup_date": "2024-01-01", "borough": "EWR", "zone": "Newark Airport"}
    expected |= {"trips": len(of_newark), "revenue": revenue}
    assert expected in report.mart_head(stack.connections, MARTS["daily_zone_revenue"], 5)
    assert sum(row["trips"] for row in stack.select("SELECT trips FROM TABLE", "daily_zone_revenue")) == 100


def test_only_the_month_that_changed_is_rebuilt_in_the_mart(stack, typed):
    for month in ("2024-01", "2024-02"):
        typed(100, month)
        run(stack, *WAREHOUSE, month=month)
    table, of_february = "mart_daily_zone_revenue", "SELECT * FROM TABLE WHERE source_month = '2024-02-01'"
    february = stack.select(of_february, table)
    typed(40)
    run(stack, *WAREHOUSE, run_id="another")
    query = "SELECT source_month, SUM(trips) AS n FROM TABLE GROUP BY source_month ORDER BY source_month"
    assert [row["n"] for row in stack.select(query, table)] == [40, 100]
    assert stack.select(of_february, table) == february


def test_a_trip_from_a_zone_nobody_knows_stays_in_the_mart(stack, typed):
    typed()
    run(stack, *WAREHOUSE)
    head = report.mart_head(stack.connections, MARTS["daily_zone_revenue"], 1)
    assert (head[0]["zone"], len(head)) == (None, 1)


def test_a_reader_sees_the_old_month_or_the_new_one(stack, typed):
    typed(1000)
    run(stack, *WAREHOUSE)
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            trips = stack.select("SELECT SUM(trips) AS n FROM TABLE", "daily_zone_revenue")
            seen.add((count(stack), trips[0]["n"]))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for number in range(2):
            typed(2000 if number % 2 == 0 else 1000)
            run(stack, *WAREHOUSE, run_id=f"run {number}")
        stop.set()
        reading.result()
    assert {rows for rows, _ in seen} == {1000, 2000}
    assert {trips for _, trips in seen} <= {1000, 2000}


def test_tables_have_partitions_clusters_and_described_columns(stack):
    with stack.warehouse() as bq:
        ensure(bq)
        table = bq.table("yellow_trips")
    assert table["timePartitioning"]["type"] == "MONTH"
    assert table["timePartitioning"]["field"] == "source_month"
    assert table["clustering"]["fields"] == ["pu_location_id", "tpep_pickup_datetime"]
    assert all(field["description"] for field in table["schema"]["fields"])


def test_several_tasks_may_create_the_tables_at_once(stack):
    def create(_):
        with stack.warehouse() as bq:
            ensure(bq)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(4)))
    with stack.warehouse() as bq:
        assert {"yellow_trips", "zones", "load_log", "daily_zone_revenue"} <= bq.tables()


def test_a_table_with_another_schema_is_left_alone(stack, typed):
    typed(50)
    run(stack, *WAREHOUSE)
    ds = DATASETS["yellow"]
    wider = replace(ds, columns=(*ds.columns, replace(ds.columns[-1], name="new_fee", aliases=())))
    with pytest.raises(PermanentError, match=r"table yellow_trips is not as the catalogue says \(new_fee\)"):
        run(stack, "stage", run_id="another", ds=wider)
    assert count(stack) == 50


def test_publishing_what_was_never_staged_says_so(stack, typed):
    typed()
    for verb in ("audit", "publish"):
        with pytest.raises(PermanentError, match="nothing is staged by this run"):
            run(stack, verb)
    with pytest.raises(PermanentError, match=r"not in the warehouse. Publish it first"):
        run(stack, "mart")


def test_an_older_month_in_the_table_does_not_pass_for_the_new_one(stack, typed):
    typed(50)
    run(stack, *WAREHOUSE)
    typed(60)
    with pytest.raises(PermanentError, match="nothing is staged by this run"):
        run(stack, "publish", run_id="another")


def test_a_month_that_is_not_in_the_lake_is_named(stack):
    with pytest.raises(PermanentError, match=r"yellow_tripdata_2024-01.parquet: not in the lake's typed/"):
        run(stack, "stage")


def test_a_warehouse_that_does_not_answer_is_transient(stack, typed):
    settings = stack.connections.settings
    client = Client("p", AnonymousCredentials(), client_options={"api_endpoint": "http://127.0.0.1:9"})
    with (
        pytest.raises(TransientError, match=r"BigQuery does not answer .* at http://127.0.0.1:9"),
        Warehouse(client, settings, retry=DEFAULT_RETRY.with_timeout(0.1)) as bq,
    ):
        bq.tables()
