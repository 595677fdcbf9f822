"""The catalogue against the stores' tables: what is safe is done, once; the rest is told, and is right."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import taxi

from elt import evolution
from elt.catalogue import Column
from elt.catalogue.registry import DATASETS
from elt.errors import PermanentError
from elt.periods import Day
from stacks import database

pytestmark = pytest.mark.emulators
STAGES = ("download", "conform", "stage", "publish", "postgres")
YELLOW = DATASETS["yellow"]


@pytest.fixture
def loaded(stack, dsn, faulty_source):
    """A stack in whose stores January of 2024 is."""
    stack = stack.with_postgres(dsn)
    faulty_source.serve(taxi.YELLOW.format("2024-01"), taxi.parquet(taxi.trips(rows=40)))
    for stage in STAGES:
        stack.run(stage)
    return stack


def wanted(**types):
    """The yellow trips with other types of some columns, and a new one."""
    columns = [replace(column, type=types.get(column.name, column.type)) for column in YELLOW.columns]
    return replace(YELLOW, columns=(*columns, Column("new_fee", "numeric", "A fee's sum.", required=False)))


def differences(stack, ds):
    return [
        (change.store, change.column, change.safe)
        for compared in evolution.compare(stack.connections, ds)
        for change in compared.changes
    ]


def test_what_is_as_described_differs_in_nothing(loaded):
    found = evolution.compare(loaded.connections, YELLOW)
    assert [(each.store, each.there, each.changes) for each in found] == [
        ("lake", True, ()), ("warehouse", True, ()), ("Postgres", True, ()),
    ]  # fmt: skip
    assert evolution.apply(loaded.connections, YELLOW) == []
    with loaded.warehouse() as warehouse:
        rows = warehouse.head("yellow_trips", 5)
    assert [str(row["source_month"]) for row in rows] == ["2024-01-01"] * 5


def test_what_is_not_there_is_no_difference(stack, dsn):
    found = evolution.compare(stack.with_postgres(dsn).connections, YELLOW)
    assert [(each.there, each.changes) for each in found] == [(False, ())] * 3


def test_what_is_safe_is_done_once_though_two_ask_and_the_months_go_on(loaded, dsn):
    ds = wanted(vendor_id="numeric", pu_location_id="int64")
    for stage, store in (("stage", "table yellow_trips"), ("postgres", "Postgres: table yellow_trips")):
        with pytest.raises(PermanentError, match=rf"{store} is not as .*scripts/schema yellow"):
            loaded.run(stage, ds, force=True)
    assert differences(loaded, ds) == [
        ("lake", "", False), ("warehouse", "vendor_id", True), ("warehouse", "new_fee", True),
        ("Postgres", "vendor_id", True), ("Postgres", "pu_location_id", True), ("Postgres", "new_fee", True),
    ]  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        done = [*pool.map(lambda _: evolution.apply(loaded.connections, ds), range(2))]
    assert sum(change.store == "Postgres" for changes in done for change in changes) == 3
    assert differences(loaded, ds) == [("lake", "", False)]
    assert evolution.apply(loaded.connections, ds) == []
    # What was there is there, in the wider types, and the marts' views are back.
    query = "SELECT COUNT(*) AS n, SUM(vendor_id) AS s, COUNT(new_fee) AS f FROM TABLE"
    (row,) = loaded.select(query)
    assert (row["n"], row["f"]) == (40, 0)
    with database(dsn) as postgres:
        assert postgres.execute("SELECT count(*), sum(vendor_id) FROM yellow_trips").fetchone() == (
            40,
            row["s"],
        )
        assert postgres.execute("SELECT count(*) FROM daily_zone_revenue").fetchone()[0] > 0
    for stage in STAGES[1:]:
        loaded.run(stage, ds, run_id="again")
    assert loaded.select(query)[0]["n"] == 40


def test_what_is_not_safe_is_told_with_the_statement_that_does_it(loaded, dsn):
    loaded.sql("ALTER TABLE {} ADD COLUMN mine STRING", "yellow_trips")
    with database(dsn) as postgres:
        postgres.execute("ALTER TABLE yellow_trips ADD COLUMN mine text")
    compared = evolution.compare(loaded.connections, YELLOW)
    changes = [change for each in compared for change in each.changes]
    assert [(change.column, change.what, change.safe) for change in changes] == [
        ("mine", "not in the catalogue", False)
    ] * 2
    assert evolution.apply(loaded.connections, YELLOW) == []
    loaded.sql(changes[0].statement.replace("{", "{{"), "yellow_trips")
    with database(dsn) as postgres:
        postgres.execute(changes[1].statement)
    assert differences(loaded, YELLOW) == []


def test_a_table_that_is_kept_by_other_periods_is_not_altered(loaded):
    by_days = replace(YELLOW, first=Day(2009, 1, 1), path="/{year}-{month}-{day}.parquet", feeds=())
    changes = [
        change for each in evolution.compare(loaded.connections, by_days)[1:] for change in each.changes
    ]
    assert [(change.what, change.safe) for change in changes] == [
        ("is kept by source_month, and by source_day in the catalogue", False)
    ] * 2
    assert all(change.statement.startswith("DROP TABLE") for change in changes)


def test_a_column_that_may_be_another_renamed_is_not_added(loaded, dsn):
    columns = tuple(replace(c, name="the_extra") if c.name == "extra" else c for c in YELLOW.columns)
    ds = replace(YELLOW, columns=columns, audits=(), feeds=())
    assert evolution.apply(loaded.connections, ds) == []
    changes = [change for each in evolution.compare(loaded.connections, ds)[1:] for change in each.changes]
    assert [change.column for change in changes] == ["the_extra", "the_extra"]
    assert all("RENAME COLUMN" in change.statement for change in changes)
    with database(dsn) as postgres:
        postgres.execute(changes[1].statement)
    assert [store for store, *_ in differences(loaded, ds)] == ["lake", "warehouse"]


def test_another_type_is_never_changed_and_a_users_view_is_never_dropped(loaded, dsn):
    narrower = wanted(vendor_id="string", pu_location_id="int64")
    with database(dsn) as postgres:
        postgres.execute("CREATE VIEW mine AS SELECT pu_location_id FROM yellow_trips")
    found = evolution.compare(loaded.connections, narrower)
    changes = {(change.store, change.column): change for each in found for change in each.changes}
    assert changes["warehouse", "vendor_id"].what == "is INT64, and STRING in the catalogue"
    assert "scripts/run yellow 2024-01 --force" in changes["Postgres", "vendor_id"].remedy
    assert not changes["Postgres", "pu_location_id"].safe
    assert "Drop the views that use it (mine)" in changes["Postgres", "pu_location_id"].remedy
    done = evolution.apply(loaded.connections, narrower)
    assert {(change.store, change.column) for change in done} == {
        ("warehouse", "new_fee"), ("Postgres", "new_fee"),
    }  # fmt: skip
    with database(dsn) as postgres:
        assert postgres.execute("SELECT count(*) FROM mine").fetchone() == (40,)
