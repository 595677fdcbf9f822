"""Months as partitions, swapped in whole: on a Postgres in memory that keeps to the library's statements."""

import datetime as dt
import io
import struct
from dataclasses import replace

import psycopg
import pytest
import taxi
from fake_postgres import FakePostgres, Table

from elt.catalogue.registry import DATASETS
from elt.conforming.stream import Split
from elt.errors import PermanentError, TransientError
from elt.periods import Month
from elt.stores import postgres

YELLOW, ZONES, JANUARY = DATASETS["yellow"], DATASETS["zones"], Month(2024, 1)
ABOUT = {"checksum": "c", "schema_version": "v", "source_etag": None, "source": "https://a.test", "bytes": 1}


@pytest.fixture
def database() -> FakePostgres:
    return FakePostgres()


def load(database, rows=20, month=JANUARY, run_id="run", ds=YELLOW, **how):
    parts = Split(io.BytesIO(taxi.parquet(taxi.trips(str(month), rows, **how))), ds, month)
    return postgres.load(database, parts, ds, month, {**ABOUT, "run_id": run_id})


def load_zones(database):
    return postgres.load(
        database, Split(io.BytesIO(taxi.ZONES_CSV), ZONES, None), ZONES, None, {**ABOUT, "run_id": "run"}
    )


def test_a_month_becomes_a_partition_with_the_catalogues_types(database):
    load(database, strays=1)
    assert sorted(database.tables) == ["yellow_trips", "yellow_trips_2024_01"]
    table = database.tables["yellow_trips"]
    assert table.partitions == {"2024-01-01": "yellow_trips_2024_01"}
    assert list(table.columns) == ["source_month", *(column.name for column in YELLOW.columns)]
    kinds = {table.columns[name] for name in ("passenger_count", "fare_amount", "tpep_pickup_datetime")}
    assert kinds == {"smallint", "double precision", "timestamp"}
    assert 'PARTITION BY LIST ("source_month")' in " ".join(database.statements)


def test_values_arrive_as_they_were(database):
    table = taxi.trips(rows=20)
    load(database)
    names = [column.name for column in YELLOW.columns]
    rows = database.tables["yellow_trips_2024_01"].rows
    sent = [struct.unpack(">d", row[names.index("total_amount")])[0] for row in rows]
    assert sent == table["total_amount"].to_pylist()
    assert [row[names.index("cbd_congestion_fee")] for row in rows] == [None] * 20
    epoch = dt.datetime.fromisoformat("2000-01-01T00:00:00")
    first = struct.unpack(">q", rows[0][names.index("tpep_pickup_datetime")])[0]
    assert epoch + dt.timedelta(microseconds=first) == table["tpep_pickup_datetime"][0].as_py()


def test_every_row_of_a_long_file_arrives(database):
    rows = 2 * postgres.PIECE_ROWS + 1
    assert load(database, rows)["rows"] == rows
    assert postgres.count(database, YELLOW) == {JANUARY: rows}


def test_rows_that_the_server_did_not_take_are_missed(database):
    load(database, 10)
    database.lost = 1
    with pytest.raises(
        PermanentError, match=r"Postgres: incoming_yellow_trips_2024_01_\w+ took 19 of 20 rows"
    ):
        load(database, 20)
    assert postgres.count(database, YELLOW) == {JANUARY: 10}


def test_tables_and_columns_are_described(database):
    load(database)
    table = database.tables["yellow_trips"]
    assert table.comment == "Yellow taxi trips\nLoaded from: https://a.test"
    assert table.comments["fare_amount"] == "Time-and-distance fare. (USD)"
    assert set(table.comments) == set(table.columns)
    # Said once, and not again by each month.
    before = len(database.statements)
    load(database, month=Month(2024, 2))
    assert not [text for text in database.statements[before:] if 'COMMENT ON TABLE "yellow_trips" ' in text]


def test_a_month_loaded_again_replaces_itself_and_nothing_else(database):
    load(database, 5)
    load(database, 6, Month(2024, 2))
    load(database, 7, run_id="another")
    assert postgres.count(database, YELLOW) == {JANUARY: 7, Month(2024, 2): 6}
    assert sorted(database.tables) == ["yellow_trips", "yellow_trips_2024_01", "yellow_trips_2024_02"]


def test_some_months_are_counted_without_the_others(database):
    load(database, 5)
    load(database, 6, Month(2024, 2))
    assert postgres.count(database, YELLOW, [Month(2024, 2), Month(2024, 3)]) == {Month(2024, 2): 6}
    assert postgres.count(database, YELLOW, []) == {}


def test_what_a_partition_is_of_is_known_from_the_database_alone(database):
    assert postgres.loaded(database, YELLOW, JANUARY) is None
    done = load(database, strays=2)
    expected = {**ABOUT, "run_id": "run", "rows": 18, "quarantined": 2}
    assert postgres.loaded(database, YELLOW, JANUARY) == done == expected


def test_a_comment_of_somebody_else_is_not_mistaken_for_ours(database):
    load(database)
    database.tables["yellow_trips_2024_01"].comment = "mine"
    assert postgres.loaded(database, YELLOW, JANUARY) is None


def test_a_dataset_without_months_is_replaced_under_its_views(database):
    load_zones(database)
    before = database.tables["zones"].columns
    assert load_zones(database)["rows"] == 3
    assert postgres.count(database, ZONES) == {None: 3}
    assert list(database.tables) == ["zones"]
    assert database.tables["zones"].columns == before
    assert not [text for text in database.statements if text.startswith("DROP") and '"zones"' in text]


def test_nothing_there_counts_as_nothing(database):
    assert postgres.count(database, YELLOW) == {}
    assert postgres.count(database, ZONES) == {}


def test_a_file_that_turns_out_bad_leaves_the_old_month(database):
    load(database, 5)
    parts = Split(io.BytesIO(taxi.parquet(taxi.trips("2023-05", 9))), YELLOW, JANUARY)
    with pytest.raises(PermanentError, match="no row fits"):
        postgres.load(database, parts, YELLOW, JANUARY, {**ABOUT, "run_id": "run"})
    assert postgres.count(database, YELLOW) == {JANUARY: 5}
    assert sorted(database.tables) == ["yellow_trips", "yellow_trips_2024_01"]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (lambda table: table.columns.update(mine="text"), "mine"),
        (lambda table: table.columns.pop("extra"), "extra"),
        (lambda table: table.columns.update(extra="real"), "extra"),
    ],
)
def test_a_table_with_another_schema_is_left_alone_and_its_column_named(database, change, column):
    load(database, 5)
    change(database.tables["yellow_trips"])
    assert not postgres.is_as_described(database, YELLOW)
    with pytest.raises(
        PermanentError, match=rf"table yellow_trips is not as the catalogue says \({column}\)\. See"
    ):
        load(database, 6)
    assert postgres.count(database, YELLOW) == {JANUARY: 5}


def test_a_column_that_was_dropped_is_no_column(database):
    """The remedy that the error names, ALTER TABLE … DROP COLUMN, has to work."""
    load(database, 5)
    database.tables["yellow_trips"].dropped.append("mine")
    assert postgres.is_as_described(database, YELLOW)
    load(database, 6)
    assert postgres.count(database, YELLOW) == {JANUARY: 6}


def test_a_column_more_in_the_catalogue_is_named(database):
    load(database, 5)
    wider = replace(
        YELLOW, columns=(*YELLOW.columns, replace(YELLOW.columns[-1], name="new_fee", aliases=()))
    )
    with pytest.raises(PermanentError, match=r"\(new_fee\)"):
        load(database, 6, ds=wider)


def test_tables_are_changed_by_one_transaction_at_a_time(database):
    load(database)
    locks = [n for n, text in enumerate(database.statements) if "pg_advisory_xact_lock" in text]
    created = next(n for n, text in enumerate(database.statements) if 'CREATE TABLE "yellow_trips"' in text)
    swapped = next(n for n, text in enumerate(database.statements) if text.startswith("DROP TABLE"))
    copied = next(n for n, text in enumerate(database.statements) if text.startswith("COPY"))
    assert locks[0] < created < copied < locks[1] < swapped, "readers wait for the swap, not for the rows"


def test_the_copy_is_binary_and_frozen(database):
    load(database)
    (statement,) = [text for text in database.statements if text.startswith("COPY")]
    assert statement.endswith("FROM STDIN (FORMAT BINARY, FREEZE)")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.OperationalError("connection refused\nIs the server running?"), TransientError),
        (psycopg.errors.LockNotAvailable("canceling statement due to lock timeout"), TransientError),
        (psycopg.errors.UndefinedColumn('column "x" does not exist'), PermanentError),
    ],
)
def test_errors_are_said_in_one_line(error, kind):
    with pytest.raises(kind, match=rf"^Postgres: {str(error).splitlines()[0]}$"), postgres.errors():
        raise error


def test_a_server_that_is_down_is_transient_and_not_waited_for():
    with (
        pytest.raises(TransientError, match=r"Postgres: .*port 9"),
        postgres.connect(host="127.0.0.1", port=9),
    ):
        pass


def test_a_table_that_is_described_by_somebody_else_is_not_ours():
    database = FakePostgres()
    database.tables["yellow_trips"] = Table({"a": "integer"})
    assert not postgres.is_as_described(database, YELLOW)
