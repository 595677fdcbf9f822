"""Months as partitions of a real PostgreSQL, swapped in whole."""

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
import taxi

from elt.catalogue.registry import DATASETS
from elt.conforming.stream import Split
from elt.errors import PermanentError, TransientError
from elt.periods import Month
from elt.stores import postgres
from stacks import database

YELLOW, ZONES, JANUARY = DATASETS["yellow"], DATASETS["zones"], Month(2024, 1)
ABOUT = {"checksum": "c", "schema_version": "v", "source_etag": None, "source": "https://a.test", "bytes": 1}

LINE = "\nLoaded from: https://a.test"


@pytest.fixture
def connection(dsn) -> Iterator[psycopg.Connection]:
    with database(dsn) as connection:
        yield connection


def load(connection, table, month=JANUARY, run="run", ds=YELLOW):
    parts = Split(io.BytesIO(taxi.parquet(table)), ds, month)
    return postgres.load(connection, parts, ds, month, {**ABOUT, "run_id": run})


def select(connection, query):
    return connection.execute(query).fetchall()


def tables(connection):
    query = (
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    )
    return sorted(name for (name,) in select(connection, query))


def test_a_month_becomes_a_partition_with_the_catalogues_types(connection):
    load(connection, taxi.trips(strays=1))
    assert tables(connection) == ["yellow_trips", "yellow_trips_2024_01"]
    assert select(connection, "SELECT count(*), min(source_month)::text FROM yellow_trips") == [
        (99, "2024-01-01")
    ]
    kinds = dict(
        select(
            connection,
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'yellow_trips'",
        )
    )
    assert (kinds["passenger_count"], kinds["fare_amount"]) == ("smallint", "double precision")
    assert kinds["tpep_pickup_datetime"] == "timestamp without time zone"


def test_values_arrive_as_they_were(connection):
    table = taxi.trips(rows=10)
    load(connection, table)
    names = ("VendorID", "passenger_count", "total_amount", "tpep_pickup_datetime", "store_and_fwd_flag")
    for name in names:
        query = (
            f"SELECT {name.replace('VendorID', 'vendor_id')} FROM yellow_trips ORDER BY tpep_pickup_datetime"
        )
        assert [value for (value,) in select(connection, query)] == table[name].to_pylist()
    assert select(connection, "SELECT count(cbd_congestion_fee) FROM yellow_trips") == [(0,)]


def test_tables_and_columns_are_described(connection):
    load(connection, taxi.trips())
    query = "SELECT obj_description('yellow_trips'::regclass), col_description('yellow_trips'::regclass, 12)"
    assert select(connection, query) == [(f"Yellow taxi trips{LINE}", "Time-and-distance fare. (USD)")]
    ((about,),) = select(connection, "SELECT obj_description('yellow_trips_2024_01'::regclass)")
    assert about.startswith(f"Yellow taxi trips, 2024-01{LINE}\n{{"), (
        "what a client shows is first for people"
    )


def test_a_month_loaded_again_replaces_itself_and_nothing_else(connection):
    load(connection, taxi.trips(rows=50))
    load(connection, taxi.trips("2024-02", rows=60), Month(2024, 2))
    load(connection, taxi.trips(rows=70), run="another")
    assert postgres.count(connection, YELLOW) == {JANUARY: 70, Month(2024, 2): 60}
    assert tables(connection) == ["yellow_trips", "yellow_trips_2024_01", "yellow_trips_2024_02"]


def test_what_a_partition_is_of_is_known_from_the_database_alone(connection):
    assert postgres.loaded(connection, YELLOW, JANUARY) is None
    load(connection, taxi.trips(strays=2))
    expected = {**ABOUT, "run_id": "run", "rows": 98, "quarantined": 2}
    assert postgres.loaded(connection, YELLOW, JANUARY) == expected


def test_a_comment_of_somebody_else_is_not_mistaken_for_ours(connection):
    load(connection, taxi.trips())
    connection.execute("COMMENT ON TABLE yellow_trips_2024_01 IS 'mine'")
    assert postgres.loaded(connection, YELLOW, JANUARY) is None


@pytest.mark.parametrize("broken", ["corrupt", "no row fits"])
def test_a_file_that_turns_out_bad_leaves_the_old_month(connection, broken):
    load(connection, taxi.trips(rows=50))
    content = taxi.parquet(taxi.trips(rows=60_000 if broken == "corrupt" else 10, strays=10))
    if broken == "corrupt":
        middle = len(content) // 3
        content = content[:middle] + b"\xff" * middle + content[2 * middle :]
    with pytest.raises(PermanentError, match=broken):
        parts = Split(io.BytesIO(content), YELLOW, JANUARY)
        postgres.load(connection, parts, YELLOW, JANUARY, {**ABOUT, "run_id": "run"})
    assert postgres.count(connection, YELLOW) == {JANUARY: 50}
    assert tables(connection) == ["yellow_trips", "yellow_trips_2024_01"]


def test_a_dataset_without_months_is_replaced_under_its_views(connection, dsn):
    zones = io.BytesIO(taxi.ZONES_CSV)
    for _ in range(2):
        zones.seek(0)
        postgres.load(connection, Split(zones, ZONES, None), ZONES, None, {**ABOUT, "run_id": "run"})
        connection.execute("CREATE OR REPLACE VIEW boroughs AS SELECT DISTINCT borough FROM zones")
    assert postgres.count(connection, ZONES) == {None: 3}
    assert select(connection, "SELECT count(*) FROM boroughs") == [(3,)]
    assert postgres.loaded(connection, ZONES, None)["rows"] == 3


def test_tasks_that_begin_at_once_do_not_trip_over_each_other(dsn):
    months = [Month(2024, n) for n in (1, 1, 2, 3, 3, 4)]

    def task(number: int) -> None:
        with database(dsn) as own:
            load(own, taxi.trips(str(months[number]), rows=100), months[number], run=f"run {number}")

    with ThreadPoolExecutor(len(months)) as pool:
        list(pool.map(task, range(len(months))))
    with database(dsn) as connection:
        assert postgres.count(connection, YELLOW) == {Month(2024, n): 100 for n in (1, 2, 3, 4)}


def test_a_reader_sees_the_old_month_or_the_new_one(dsn, connection):
    load(connection, taxi.trips(rows=1000))
    seen, stop = set(), threading.Event()

    def read() -> None:
        with psycopg.connect(dsn, autocommit=True) as own:
            while not stop.is_set():
                seen.update(own.execute("SELECT count(*) FROM yellow_trips").fetchone())

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(10):
            load(connection, taxi.trips(rows=2000 if number % 2 else 1000), run=f"run {number}")
        stop.set()
        assert [reader.result() for reader in readers] == [None, None]
    assert seen == {1000, 2000}


def test_a_reader_that_does_not_end_is_transient_not_a_standstill(dsn, connection):
    load(connection, taxi.trips(rows=50))
    with psycopg.connect(dsn) as reader:
        reader.execute("SELECT count(*) FROM yellow_trips")
        with pytest.raises(TransientError, match="lock timeout"), database(dsn) as own:
            own.execute("SET lock_timeout = '100ms'")
            load(own, taxi.trips(rows=60), run="another")
    assert postgres.count(connection, YELLOW) == {JANUARY: 50}


def test_locks_are_not_waited_for_for_ever(connection):
    assert select(connection, "SHOW lock_timeout") == [(postgres.LOCK_TIMEOUT,)]


def test_a_table_with_another_schema_is_left_alone(connection):
    load(connection, taxi.trips(rows=50))
    wider = replace(
        YELLOW, columns=(*YELLOW.columns, replace(YELLOW.columns[-1], name="new_fee", aliases=()))
    )
    with pytest.raises(PermanentError, match=r"table yellow_trips is not as the catalogue says \(new_fee\)"):
        load(connection, taxi.trips(rows=60), ds=wider)
    assert postgres.count(connection, YELLOW) == {JANUARY: 50}


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("ALTER TABLE yellow_trips ADD COLUMN mine text", "ALTER TABLE yellow_trips DROP COLUMN mine"),
        (
            "ALTER TABLE yellow_trips ALTER COLUMN extra TYPE real",
            "ALTER TABLE yellow_trips ALTER COLUMN extra TYPE double precision",
        ),
    ],
)
def test_the_remedy_that_the_error_names_works(connection, change, remedy):
    load(connection, taxi.trips(rows=50))
    connection.execute(change)
    with pytest.raises(
        PermanentError, match=r"not as the catalogue says \((mine|extra)\)\. .*scripts/schema yellow"
    ):
        load(connection, taxi.trips(rows=60))
    connection.execute(remedy)
    load(connection, taxi.trips(rows=60))
    assert postgres.count(connection, YELLOW) == {JANUARY: 60}


def test_some_months_are_counted_without_the_others(connection):
    for month in (JANUARY, JANUARY.next()):
        load(connection, taxi.trips(str(month), rows=10), month)
    assert postgres.count(connection, YELLOW, [JANUARY]) == {JANUARY: 10}
    assert postgres.count(connection, YELLOW, []) == {}


def test_a_server_that_is_down_is_transient():
    with (
        pytest.raises(TransientError, match=r"Postgres: .*port 9"),
        postgres.connect(host="127.0.0.1", port=9),
    ):
        pass


def test_nothing_there_counts_as_nothing(connection):
    assert postgres.count(connection, YELLOW) == {}
