"""Published months → marts: what they say, of which datasets, and when they are built again."""

from collections import Counter
from dataclasses import replace

import pytest
import taxi

from elt.catalogue.registry import DATASETS, MARTS
from elt.errors import PermanentError
from elt.provenance import Loaded, Origin
from elt.stores.bigquery import Work
from elt.warehouse import load_log
from elt.warehouse.tables import ensure

pytestmark = pytest.mark.emulators
YELLOW = DATASETS["yellow"]
STAGES = ("download", "conform", "stage", "audit", "publish", "mart")


def run(stack, *stages, run_id="run", month="2024-01", ds=YELLOW):
    return [stack.run(stage, ds, month, run_id) for stage in stages]


def select(stack, table, query="SELECT * FROM TABLE"):
    return stack.select(query, table)


def serve(source, table):
    source.serve(taxi.YELLOW.format("2024-01"), taxi.parquet(table))


def test_every_dataset_feeds_the_marts_it_has_the_columns_for(stack):
    expected = {
        "daily_zone_revenue": {"yellow", "green", "fhvhv"},
        "hourly_demand": {"yellow", "green", "fhv", "fhvhv"},
        "payment_mix": {"yellow", "green"},
    }
    with stack.warehouse() as warehouse:
        ensure(warehouse)
    for name in expected["hourly_demand"]:
        put_two_trips(stack, DATASETS[name])
        stack.run("mart", name)
    for mart, datasets in expected.items():
        found = select(stack, mart, "SELECT dataset, SUM(trips) AS n FROM TABLE GROUP BY dataset")
        assert {row["dataset"]: row["n"] for row in found} == dict.fromkeys(datasets, 2)
    charged = select(stack, "daily_zone_revenue", "SELECT dataset, revenue FROM TABLE")
    assert {row["dataset"]: row["revenue"] for row in charged} == dict.fromkeys(
        expected["daily_zone_revenue"], 24.0
    )


def put_two_trips(stack, ds):
    """Two trips of 12 USD from zone 1 at once, and the log that says that they are published."""
    money = {"total_amount": 12.0} if ds.name != "fhvhv" else {"base_passenger_fare": 10.0, "tips": 2.0}
    values = {ds.key: "DATETIME '2024-01-05 12:34:56'", "pu_location_id": "1"}
    values |= {name: str(value) for name, value in money.items() if ds.name != "fhv"}
    row = f"SELECT DATE '2024-01-01', {', '.join(values.values())}"
    request = stack.request(ds, "2024-01")
    with stack.warehouse() as bq:
        text = f"INSERT INTO {bq.name(ds.table)} (source_month, {', '.join(values)}) {row} UNION ALL {row}"
        bq.execute(text, {}, Work(f"put-{request.settings.dataset}-{ds.name}", {}))
        load_log.record(bq, request, "warehouse", Loaded(Origin("c", "v"), 2, 0, 0))


def test_demand_and_payments_are_counted_as_the_trips_have_them(stack, faulty_source):
    table = taxi.with_column(trips := taxi.trips(rows=300), "payment_type", taxi.pa.array([1, 1, 2] * 100))
    serve(faulty_source, table)
    run(stack, *STAGES)
    hours = Counter(
        (t["tpep_pickup_datetime"].replace(minute=0, second=0), t["PULocationID"]) for t in trips.to_pylist()
    )
    found = select(stack, "hourly_demand")
    assert {(row["pickup_hour"], row["pu_location_id"]): row["trips"] for row in found} == dict(hours)
    found = {row["payment"]: row for row in select(stack, "payment_mix")}
    assert {payment: row["trips"] for payment, row in found.items()} == {"Credit card": 200, "Cash": 100}
    assert found["Cash"]["share"] == pytest.approx(1 / 3)
    assert found["Cash"]["tips"] == pytest.approx(200.0)
    of_cash = [row["total_amount"] for row in table.to_pylist() if row["payment_type"] == 2]
    assert found["Cash"]["revenue"] == pytest.approx(sum(of_cash))


def test_a_mart_that_is_added_is_built_of_months_that_are_there_and_nothing_else_is_done_again(
    stack, faulty_source
):
    serve(faulty_source, taxi.trips())
    without = replace(YELLOW, feeds=tuple(feed for feed in YELLOW.feeds if feed.mart != "payment_mix"))
    run(stack, *STAGES, ds=without)
    assert select(stack, "payment_mix") == []
    *others, built = run(stack, *STAGES, run_id="another")
    assert ([done["reused"] for done in others], built["reused"]) == ([True] * 5, False)
    assert built["mart_rows"] == sum(len(select(stack, f"mart_{mart}")) for mart in MARTS)
    assert sum(row["trips"] for row in select(stack, "payment_mix")) == 100
    assert all(done["reused"] for done in run(stack, *STAGES, run_id="third"))


def test_all_marts_of_a_month_change_at_once_with_their_log(stack, faulty_source):
    serve(faulty_source, taxi.trips(rows=50))
    run(stack, *STAGES)
    before = {mart: select(stack, mart) for mart in MARTS}
    serve(faulty_source, taxi.trips(rows=60))
    run(stack, *STAGES[:-1], run_id="bad")
    stack.sql("ALTER TABLE {} RENAME COLUMN started_at TO other", "load_log")
    with pytest.raises(PermanentError, match="started_at"):
        run(stack, "mart", run_id="bad")
    stack.sql("ALTER TABLE {} RENAME COLUMN other TO started_at", "load_log")
    assert {mart: select(stack, mart) for mart in MARTS} == before
    assert stack.log("mart").run_id == "run"
    run(stack, "mart", run_id="bad")
    assert sum(row["trips"] for row in select(stack, "hourly_demand")) == 60
