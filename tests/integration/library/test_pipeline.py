"""Whole months from source to mart and Postgres: added up, repeated, killed at every step."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

import psycopg
import pytest
import taxi
from requests.adapters import HTTPAdapter

from nyc_taxi import pipeline, postgres, report
from nyc_taxi.bigquery import BigQuery
from nyc_taxi.catalogue import DATASETS
from nyc_taxi.errors import TaxiError
from nyc_taxi.lake import Lake
from nyc_taxi.load_log import latest
from nyc_taxi.settings import Settings

pytestmark = pytest.mark.emulators
VERBS = ("download", "conform", "stage", "audit", "publish", "mart", "ingest")
PATH = taxi.YELLOW.format("2024-01")


@pytest.fixture
def stack(stack, dsn) -> Settings:
    return replace(stack, postgres_dsn=dsn)


def run(stack: Settings, *verbs: str, month: str | None = "2024-01", ds: str = "yellow", run_id: str = "run"):
    return [getattr(pipeline, verb)(ds, month, run_id, stack) for verb in verbs or VERBS]


def entry(stack: Settings, month: str | None = "2024-01", ds: str = "yellow"):
    return next(e for e in report.status(stack) if (e["dataset"], e["month"]) == (ds, month))


def everything(stack: Settings) -> dict[str, object]:
    """All that is visible anywhere, without times and run ids."""
    lake = Lake(stack)
    objects = {stored.name: (stored.size, dict(stored.metadata)) for stored in lake.list("")}
    with BigQuery(stack) as bq:
        tables = {}
        for name in sorted(bq.tables() - {"load_log"}):
            rows = bq.rows(f"SELECT TO_JSON_STRING(t) AS row FROM {bq.name(name)} AS t", {}, {})
            tables[name] = sorted(row["row"] for row in rows)
    log = {key: (row.rows, row.quarantined, row.checksum) for key, row in latest(stack).items()}
    with postgres.connect(stack.require_postgres()) as connection:
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
    run(stack, *VERBS[:5], ds="zones", month=None)
    found = entry(stack, None, "zones")
    assert (found["warehouse_rows"], found["postgres_rows"], found["state"]) == (3, None, "loaded")


def test_the_same_again_changes_nothing(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(strays=3)))
    run(stack)
    before, status = everything(stack), report.status(stack)
    assert all(done["reused"] for done in run(stack, run_id="another"))
    assert (everything(stack), report.status(stack)) == (before, status)


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
    assert report.status(stack) == []
    assert report.mart_head(stack, 5) == []


def test_a_month_is_partial_until_it_is_everywhere(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    states = []
    for verb in VERBS:
        run(stack, verb)
        states.append(entry(stack)["state"])
    assert states == ["partial"] * 6 + ["loaded"]


def test_rows_that_vanish_from_a_store_are_missed(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    run(stack)
    with psycopg.connect(stack.require_postgres()) as connection:
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


def test_bad_input_changes_nothing_that_anybody_reads(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(rows=50)))
    run(stack)
    before = everything(stack)
    for reason, serve in BAD.items():
        serve(faulty_source)
        with pytest.raises(TaxiError, match=rf"^(yellow_tripdata_2024-01.parquet: )?.*{reason}"):
            run(stack, *VERBS[:2], run_id="bad")
        if reason in ("corrupt", "lost"):
            with pytest.raises(TaxiError, match=reason):
                run(stack, "ingest", run_id="bad")
    after = everything(stack)
    for store in ("tables", "postgres"):
        assert after[store] == before[store]
    readable = [
        {name: facts for name, facts in seen["objects"].items() if not name.startswith("raw/")}
        for seen in (before, after)
    ]
    assert readable[0] == readable[1]


# Killed at any request or statement, a verb is done by the next attempt, and nothing is left over.

NEEDS = {
    "download": (), "conform": VERBS[:1], "stage": VERBS[:2],
    "publish": VERBS[:3], "mart": (*VERBS[:3], "publish"), "ingest": VERBS[:1],
}  # fmt: skip


def killed_after(steps: int, act: Callable[[], object]) -> bool:
    """Do something in a process killed after so many requests and statements; False if it ended first."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            count = itertools.count(1)
            for owner, name in (
                (HTTPAdapter, "send"),
                (psycopg.Connection, "execute"),
                (psycopg.Copy, "write"),
            ):
                setattr(owner, name, dying(getattr(owner, name), count, steps))
            act()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def dying(real: Callable[..., object], count: Iterator[int], steps: int) -> Callable[..., object]:
    def act(*args: object, **how: object) -> object:
        result = real(*args, **how)
        if next(count) == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return act


@pytest.mark.parametrize("verb", NEEDS)
def test_a_verb_killed_at_any_step_is_done_by_the_next_attempt(stack, faulty_source, verb):
    states, killed = {}, True
    for steps in itertools.count(0):
        if not killed:
            break
        rows = 50 + steps % 2  # each time there is another month to replace
        faulty_source.serve(PATH, taxi.parquet(taxi.trips(rows=rows + 1, strays=1)))
        for need in NEEDS[verb]:
            run(stack, need, run_id=f"run {steps}")
        act = partial(run, stack, verb, run_id=f"run {steps}")
        killed = steps < 2 or killed_after(steps - 1, act)
        assert visible(stack, verb) in (0, 50, 51), "whole months only, whenever it died"
        act()
        state = leftovers(stack), visible(stack, verb)
        assert states.setdefault(rows, state) == state
    assert steps > 4, "it was killed at several steps"


def visible(stack: Settings, verb: str) -> int:
    """Rows that a reader finds where this verb writes."""
    if verb == "ingest":
        with postgres.connect(stack.require_postgres()) as connection:
            return postgres.count(connection, DATASETS["yellow"]).get("2024-01", 0)
    if verb in ("publish", "mart"):
        table, rows = (
            ("yellow_trips", "COUNT(*)") if verb == "publish" else ("daily_zone_revenue", "SUM(trips)")
        )
        with BigQuery(stack) as bq:
            return bq.rows(f"SELECT {rows} AS n FROM {bq.name(table)}", {}, {})[0]["n"] or 0
    typed = list(Lake(stack).list("typed/"))
    return int(typed[0].metadata["rows"]) if typed else 0


def leftovers(stack: Settings) -> tuple[list[str], set[str], list[str]]:
    """Names of all objects and tables."""
    with BigQuery(stack) as bq, postgres.connect(stack.require_postgres()) as connection:
        there = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        staging = {name[:22] for name in bq.tables() if name.startswith("staging")}
        return [stored.name for stored in Lake(stack).list("")], staging, [name for (name,) in there]
