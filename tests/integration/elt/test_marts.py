"""Published months → marts: what they say, of which datasets, and when they are built again."""

import datetime as dt
from collections import Counter
from dataclasses import replace

import pytest
import taxi

from elt.catalogue import registry as catalogue
from elt.catalogue.registry import DATASETS, MARTS
from elt.months import Month
from elt.provenance import Loaded, Origin
from elt.stage_request import Request
from elt.stages import marts, warehouse
from elt.stages import registry as pipeline
from elt.stores.bigquery import BigQuery, Work
from elt.warehouse import load_log
from elt.warehouse.load_log import LogRow, latest

pytestmark = pytest.mark.emulators
YELLOW = DATASETS["yellow"]
VERBS = ("download", "conform", "stage", "audit", "publish", "mart")
NOON = dt.datetime(2024, 1, 5, 12, tzinfo=dt.UTC)


def run(stack, *verbs, run_id="run", month="2024-01"):
    return [getattr(pipeline, verb)("yellow", month, run_id, stack) for verb in verbs]


def select(stack, table, query="SELECT * FROM TABLE"):
    with BigQuery(stack) as bq:
        return bq.rows(query.replace("TABLE", bq.name(table)), {}, {})


def serve(source, table):
    source.serve(taxi.YELLOW.format("2024-01"), taxi.parquet(table))


def test_every_dataset_feeds_the_marts_it_has_the_columns_for(stack):
    expected = {
        "daily_zone_revenue": {"yellow", "green", "fhvhv"},
        "hourly_demand": {"yellow", "green", "fhv", "fhvhv"},
        "payment_mix": {"yellow", "green"},
    }
    warehouse.ensure(stack)
    for name in expected["hourly_demand"]:
        put_two_trips(stack, DATASETS[name])
        pipeline.mart(name, "2024-01", "run", stack)
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
    with BigQuery(stack) as bq:
        text = f"INSERT INTO {bq.name(ds.table)} (source_month, {', '.join(values)}) {row} UNION ALL {row}"
        bq.execute(text, {}, Work(f"put-{stack.dataset}-{ds.name}", {}))
    request = Request(ds, Month(2024, 1), "run", stack)
    load_log.record(request, "warehouse", Loaded(Origin("c", "v"), 2, 0, 0))


def test_demand_and_payments_are_counted_as_the_trips_have_them(stack, faulty_source):
    table = taxi.with_column(trips := taxi.trips(rows=300), "payment_type", taxi.pa.array([1, 1, 2] * 100))
    serve(faulty_source, table)
    run(stack, *VERBS)
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
    stack, faulty_source, monkeypatch
):
    serve(faulty_source, taxi.trips())
    without = replace(YELLOW, feeds=tuple(feed for feed in YELLOW.feeds if feed.mart != "payment_mix"))
    monkeypatch.setattr(catalogue, "DATASETS", {"yellow": without})
    run(stack, *VERBS)
    assert select(stack, "payment_mix") == []
    monkeypatch.setattr(catalogue, "DATASETS", {"yellow": YELLOW})
    *others, built = run(stack, *VERBS, run_id="another")
    assert ([done["reused"] for done in others], built["reused"]) == ([True] * 5, False)
    assert built["mart_rows"] == sum(len(select(stack, f"mart_{mart}")) for mart in MARTS)
    assert sum(row["trips"] for row in select(stack, "payment_mix")) == 100
    assert all(done["reused"] for done in run(stack, *VERBS, run_id="third"))


def test_all_marts_of_a_month_change_at_once_with_their_log(stack, faulty_source, monkeypatch):
    serve(faulty_source, taxi.trips(rows=50))
    run(stack, *VERBS)
    before = {mart: select(stack, mart) for mart in MARTS}
    serve(faulty_source, taxi.trips(rows=60))
    run(stack, *VERBS[:-1], run_id="bad")
    real = marts.statement

    def breaking(name, **words):
        return "SELECT ERROR('broken')" if name == "log" else real(name, **words)

    with monkeypatch.context() as patch:
        patch.setattr(marts, "statement", breaking)
        with pytest.raises(Exception, match="broken"):
            run(stack, "mart", run_id="bad")
    assert {mart: select(stack, mart) for mart in MARTS} == before
    assert latest(stack)["yellow", "2024-01", "mart"].run_id == "run"
    run(stack, "mart", run_id="bad")
    assert sum(row["trips"] for row in select(stack, "hourly_demand")) == 60


def row(stage: str, checksum: str, version: str, finished: dt.datetime) -> LogRow:
    return LogRow("yellow", "2024-01", stage, 1, 0, 1, checksum, version, None, "run", finished, finished)


def test_marts_built_while_their_month_was_replaced_are_built_again():
    """They end later than the publication and are of what was there before it."""
    published = row("warehouse", "new", "v", NOON)
    version = marts._origin(YELLOW, published).schema_version
    later = NOON + dt.timedelta(seconds=9)
    assert not marts.current(YELLOW, row("mart", "old", version, later), published)
    assert not marts.current(YELLOW, row("mart", "new", "other SQL", later), published)
    assert not marts.current(YELLOW, None, published)
    assert marts.current(YELLOW, row("mart", "new", version, later), published)
