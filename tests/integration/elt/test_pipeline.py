"""Whole months from source to mart and Postgres: added up, repeated, spoilt."""

import psycopg
import pytest
import taxi

from elt import status as report
from elt.catalogue.registry import MARTS
from elt.errors import PipelineError
from elt.periods import Partition
from elt.stages import STAGES
from stacks import Stack, database

pytestmark = pytest.mark.emulators
PATH = taxi.YELLOW.format("2024-01")


@pytest.fixture
def stack(stack, dsn) -> Stack:
    return stack.with_postgres(dsn)


def run(stack: Stack, *stages: str, month: str | None = "2024-01", ds: str = "yellow", run_id: str = "run"):
    return [stack.run(stage, ds, month, run_id) for stage in stages or STAGES]


def status(stack: Stack):
    return report.status(stack.connections)


def entry(stack: Stack, month: str | None = "2024-01", ds: str = "yellow"):
    return next(e for e in status(stack) if (e["dataset"], e["period"]) == (ds, month))


def everything(stack: Stack, dsn: str) -> dict[str, object]:
    """All that is visible anywhere, without times and run ids."""
    with stack.lake() as lake:
        objects = {stored.name: (stored.size, dict(stored.metadata)) for stored in lake.list("")}
    with stack.warehouse() as bq:
        names = sorted(bq.tables() - {"load_log"})
    tables = {
        name: sorted(
            row["row"] for row in stack.select("SELECT TO_JSON_STRING(t) AS row FROM TABLE AS t", name)
        )
        for name in names
    }
    log = {key: (row.rows, row.quarantined, row.origin.checksum) for key, row in stack.logs().items()}
    with database(dsn) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        there = [name for (name,) in connection.execute(query)]
        kept = {name: sorted(map(str, connection.execute(f"SELECT * FROM {name}"))) for name in there}
    return {"objects": objects, "tables": tables, "log": log, "postgres": kept}


def test_a_month_is_the_same_in_all_stores(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(strays=3)))
    results = run(stack)
    assert {done.get("rows", 97) for done in results} == {97}
    assert len({done["checksum"] for done in results}) == 1
    found = entry(stack)
    assert found["typed_rows"] == found["warehouse_rows"] == found["postgres_rows"] == 97
    assert (found["quarantined_rows"], found["state"], found["run_id"]) == (3, "loaded", "run")
    assert found["checksum"] == results[0]["checksum"]


def test_zones_are_loaded_without_a_month(stack):
    run(stack, ds="zones", month=None)
    found = entry(stack, None, "zones")
    assert (found["warehouse_rows"], found["postgres_rows"], found["state"]) == (3, 3, "loaded")


def test_the_same_again_changes_nothing(stack, faulty_source, dsn):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(strays=3)))
    run(stack)
    before, described = everything(stack, dsn), status(stack)
    assert all(done["reused"] for done in run(stack, run_id="another"))
    assert (everything(stack, dsn), status(stack)) == (before, described)


def test_a_republished_month_is_loaded_again_everywhere(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(rows=50)))
    run(stack)
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(rows=60)))
    run(stack, "download")
    assert entry(stack)["state"] == "partial", "raw is of another file than the rest"
    run(stack, run_id="another")
    found = entry(stack)
    assert (found["warehouse_rows"], found["postgres_rows"], found["state"]) == (60, 60, "loaded")


def test_an_empty_stack_has_nothing_to_report(stack):
    assert status(stack) == []
    assert report.mart_head(stack.connections, MARTS["daily_zone_revenue"], 5) == []


def test_a_month_is_partial_until_it_is_everywhere(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    states = []
    for stage in STAGES:
        run(stack, stage)
        states.append(entry(stack)["state"])
    assert states == ["partial"] * 6 + ["loaded"]
    assert report.missing(stack.connections, [Partition.parse("yellow", "2024-01")]) == {
        Partition.parse("yellow", "2024-01"): ()
    }


def test_rows_that_vanish_from_a_store_are_missed(stack, faulty_source, dsn):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    run(stack)
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM yellow_trips WHERE vendor_id = 1")
    found = entry(stack)
    assert (found["postgres_rows"], found["state"]) == (50, "partial")


BAD = {
    "not published": lambda s: s.serve_status(PATH, 404),
    "HTML": lambda s: s.serve_html(PATH),
    "not Parquet": lambda s: s.serve(PATH, b"a,b\n1,2\n" * 99),
    "truncated": lambda s: s.serve(PATH, taxi.parquet(taxi.trips(rows=90))[:-9]),
    "corrupt": lambda s: s.serve_corrupt(PATH, taxi.parquet(taxi.trips(rows=5000))),
    "lost": lambda s: s.serve(PATH, taxi.parquet(taxi.trips(rows=90).drop_columns(["fare_amount"]))),
}


def test_bad_input_changes_nothing_that_anybody_reads(stack, faulty_source, dsn):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(rows=50)))
    run(stack)
    before = everything(stack, dsn)
    for reason, serve in BAD.items():
        serve(faulty_source)
        with pytest.raises(PipelineError, match=rf"^(yellow_tripdata_2024-01.parquet: )?.*{reason}"):
            run(stack, "download", "conform", run_id="bad")
        if reason in ("corrupt", "lost"):
            with pytest.raises(PipelineError, match=reason):
                run(stack, "postgres", run_id="bad")
    after = everything(stack, dsn)
    for store in ("tables", "postgres"):
        assert after[store] == before[store]
    readable = [
        {name: facts for name, facts in seen["objects"].items() if not name.startswith("raw/")}
        for seen in (before, after)
    ]
    assert readable[0] == readable[1]
