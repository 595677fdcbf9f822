"""The marts in Postgres: views that say what the warehouse's marts say."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import taxi

from elt.catalogue.registry import DATASETS, MARTS
from elt.conforming.stream import Split
from elt.periods import Month
from elt.stages import STAGES
from elt.stages.postgres import definition, ensure_views
from elt.stores import postgres
from stacks import database

YELLOW, ZONES, JANUARY = DATASETS["yellow"], DATASETS["zones"], Month(2024, 1)
ABOUT = {"checksum": "c", "schema_version": "v", "source_etag": None, "bytes": 1, "run_id": "run"}


@pytest.fixture
def connection(dsn) -> Iterator[psycopg.Connection]:
    with database(dsn) as connection:
        yield connection


def load(connection, month=JANUARY, **how):
    parts = Split(io.BytesIO(taxi.parquet(taxi.trips(str(month), **how))), YELLOW, month)
    postgres.load(connection, parts, YELLOW, month, ABOUT)


def select(connection, query):
    return connection.execute(query).fetchall()


def views(connection):
    query = "SELECT viewname FROM pg_views WHERE schemaname = 'public'"
    return {name for (name,) in select(connection, query)}


def test_there_is_a_view_for_each_mart_that_what_is_there_feeds(connection):
    ensure_views(connection)
    assert views(connection) == set(), "nothing is there"
    load(connection)
    ensure_views(connection)
    assert views(connection) == {feed.mart for feed in YELLOW.feeds}


@pytest.mark.emulators
def test_the_views_say_the_same_in_the_warehouse_and_in_postgres(stack, dsn, faulty_source):
    stack = stack.with_postgres(dsn)
    for month, rows in (("2024-01", 300), ("2024-02", 200)):
        faulty_source.serve(taxi.YELLOW.format(month), taxi.parquet(taxi.trips(month, rows, strays=2)))
        for stage in STAGES:
            stack.run(stage, "yellow", month)
    for stage in STAGES:
        if stage != "mart":
            stack.run(stage, "zones", None)
    for mart in MARTS:
        wanted = stack.select("SELECT * FROM TABLE", mart)
        with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as own:
            found = own.execute(f"SELECT * FROM {mart}").fetchall()
        assert wanted
        assert [list(row) for row in found[:1]] == [list(row) for row in wanted[:1]], "the same columns"
        assert sorted(map(comparable, found)) == sorted(map(comparable, wanted))


def comparable(row):
    return [
        str(round(float(v), 6)) if type(v).__name__ in ("float", "Decimal") else str(v) for v in row.values()
    ]


def test_one_month_of_a_view_reads_one_partition(connection):
    for month in (JANUARY, JANUARY.next()):
        load(connection, month)
    ensure_views(connection)
    for mart in MARTS:
        query = f"EXPLAIN SELECT * FROM {mart} WHERE source_month = '2024-01-01'"
        plan = "\n".join(line for (line,) in select(connection, query))
        assert "yellow_trips_2024_01" in plan
        assert "yellow_trips_2024_02" not in plan


def test_again_changes_nothing_and_keeps_what_was_built_upon_a_view(connection):
    load(connection)
    ensure_views(connection)
    connection.execute("CREATE VIEW mine AS SELECT zone, trips FROM daily_zone_revenue")
    version = select(connection, "SELECT oid, xmin FROM pg_class WHERE relname = 'daily_zone_revenue'")
    ensure_views(connection)
    assert (
        select(connection, "SELECT oid, xmin FROM pg_class WHERE relname = 'daily_zone_revenue'") == version
    )
    load(connection, JANUARY.next())
    assert select(connection, "SELECT sum(trips) FROM mine") == [(200,)]


def test_a_dataset_that_arrives_later_joins_the_view_under_what_was_built_upon_it(connection):
    load(connection)
    ensure_views(connection)
    connection.execute("CREATE VIEW mine AS SELECT dataset, trips FROM hourly_demand")
    postgres.ensure_table(connection, DATASETS["green"])
    connection.execute(
        """CREATE TABLE green_trips_2024_01 PARTITION OF green_trips (source_month DEFAULT '2024-01-01')
        FOR VALUES IN ('2024-01-01')"""
    )
    connection.execute(
        "INSERT INTO green_trips_2024_01 (lpep_pickup_datetime, pu_location_id) VALUES ('2024-01-01', 1)"
    )
    ensure_views(connection)
    counted = "SELECT dataset, sum(trips) FROM mine GROUP BY 1 ORDER BY 1"
    assert select(connection, counted) == [("green", 1), ("yellow", 100)]


def test_a_table_with_another_schema_is_left_out(connection):
    connection.execute("CREATE TABLE green_trips (a int)")
    load(connection)
    ensure_views(connection)
    assert select(connection, "SELECT DISTINCT dataset FROM hourly_demand") == [("yellow",)]


def test_a_view_with_other_columns_than_before_is_made_anew(connection):
    load(connection)
    connection.execute("CREATE VIEW hourly_demand AS SELECT 1 AS something")
    ensure_views(connection)
    assert select(connection, "SELECT sum(trips) FROM hourly_demand") == [(100,)]


def test_columns_of_views_are_described(connection):
    load(connection)
    ensure_views(connection)
    query = """SELECT attname, col_description(attrelid, attnum) FROM pg_attribute
        WHERE attrelid = 'hourly_demand'::regclass"""
    described = {name for name, text in select(connection, query) if text}
    assert described == {column.name for column in MARTS["hourly_demand"].columns}


def test_several_tasks_may_make_the_views_at_once(dsn, connection):
    load(connection)

    def ensure(_):
        with database(dsn) as own:
            ensure_views(own)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ensure, range(8)))
    assert views(connection) == {feed.mart for feed in YELLOW.feeds}


def test_no_dataset_no_view():
    assert definition(MARTS["payment_mix"], [DATASETS["fhv"]]) is None


def test_every_dataset_that_is_there_feeds_its_views(connection):
    for ds in DATASETS.values():
        postgres.ensure_table(connection, ds)
    ensure_views(connection)
    assert views(connection) == set(MARTS)
    for mart in MARTS:
        (text,) = select(connection, f"SELECT pg_get_viewdef('{mart}')")[0]
        fed = {ds.name for ds in DATASETS.values() if any(feed.mart == mart for feed in ds.feeds)}
        assert {ds.name for ds in DATASETS.values() if f"'{ds.name}'" in text} == fed
        assert select(connection, f"SELECT * FROM {mart}") == []
