"""raw/ → Postgres, in memory."""

import pytest
import taxi
from fake_postgres import FakePostgres, Table
from fakes import Stack

from elt.catalogue.registry import DATASETS, MARTS
from elt.errors import PermanentError, SettingError, TransientError
from elt.periods import Month
from elt.stages.postgres import definition, ensure_views
from elt.stores import postgres as store

YELLOW, JANUARY = DATASETS["yellow"], Month(2024, 1)


@pytest.fixture
def database() -> FakePostgres:
    return FakePostgres()


@pytest.fixture
def stack(database) -> Stack:
    return Stack(database)


def download(stack, rows=20, **how):
    stack.publisher.publish("yellow", "2024-01", taxi.parquet(taxi.trips(rows=rows, **how)))
    stack.run("download", "yellow", "2024-01")


def load(stack, run_id="run", **how):
    return stack.run("postgres", "yellow", "2024-01", run_id, **how)


def logged(stack):
    query = """SELECT row_count, quarantined_count, byte_count, source, run_id
        FROM d.load_log WHERE stage = 'postgres' ORDER BY finished_at"""
    return stack.bigquery.sql(query)


def test_a_raw_file_becomes_a_partition_and_is_logged(stack, database):
    download(stack, strays=2)
    done = load(stack)
    assert (done["table"], done["rows"], done["quarantined"], done["reused"]) == (
        "yellow_trips",
        18,
        2,
        False,
    )
    assert store.count(database, YELLOW) == {JANUARY: 18}
    size = len(stack.objects()["raw/yellow/yellow_tripdata_2024-01.parquet"].content)
    assert logged(stack) == [(18, 2, size, "https://publisher.test", "run")]


def test_the_same_again_changes_nothing_and_logs_what_is_missing(stack, database):
    download(stack)
    load(stack)
    stack.bigquery.sql("DELETE FROM d.load_log WHERE stage = 'postgres'")
    done = load(stack, "another")
    assert (done["reused"], done["rows"]) == (True, 20)
    assert [row[-1] for row in logged(stack)] == ["another"]
    load(stack, "third")
    assert len(logged(stack)) == 1
    assert len([text for text in database.statements if text.startswith("COPY")]) == 1


def test_force_loads_again(stack, database):
    download(stack)
    load(stack)
    assert not load(stack, force=True)["reused"]
    assert len(logged(stack)) == 2


def test_a_new_file_replaces_the_rows_of_the_old_one(stack, database):
    for rows in (20, 7):
        download(stack, rows)
        assert not load(stack)["reused"]
    assert store.count(database, YELLOW) == {JANUARY: 7}


def test_what_is_not_in_the_lake_is_named(stack):
    with pytest.raises(
        PermanentError, match=r"yellow_tripdata_2024-01.parquet: not in the lake\. Download it"
    ):
        load(stack)


def test_without_a_postgres_nothing_is_tried():
    with pytest.raises(SettingError):
        Stack().run("postgres", "yellow", "2024-01")


def test_a_file_that_cannot_be_fetched_leaves_the_old_rows(stack, database):
    download(stack)
    load(stack)
    download(stack, 7)
    stack.storage.faults = [None, *[503] * 100]
    with pytest.raises(TransientError):
        load(stack)
    assert store.count(database, YELLOW) == {JANUARY: 20}


# Views


def test_there_is_a_view_for_each_mart_that_what_is_there_feeds(stack, database):
    ensure_views(database)
    assert database.tables == {}
    download(stack)
    load(stack)
    views = {name for name, table in database.tables.items() if table.definition}
    assert views == {feed.mart for feed in YELLOW.feeds}
    assert "zones" in database.tables, "the views join it"


def test_views_are_made_again_only_if_they_changed(stack, database):
    download(stack)
    load(stack)
    made = [text for text in database.statements if text.startswith("CREATE OR REPLACE VIEW")]
    database.statements.clear()
    ensure_views(database)
    assert not [text for text in database.statements if not text.startswith("SELECT")]
    store.ensure_table(database, DATASETS["green"])
    ensure_views(database)
    again = [text for text in database.statements if text.startswith("CREATE OR REPLACE VIEW")]
    assert len(made) == len(again) == 3
    assert all("'green'" in text for text in again)


def test_a_view_with_other_columns_than_before_is_made_anew(stack, database):
    database.tables["hourly_demand"] = Table(definition="other columns")
    download(stack)
    load(stack)
    assert 'DROP VIEW "hourly_demand"' in database.statements
    assert "'yellow'" in database.tables["hourly_demand"].definition


def test_views_and_their_columns_are_described(stack, database):
    download(stack)
    load(stack)
    view, mart = database.tables["hourly_demand"], MARTS["hourly_demand"]
    assert view.comment.startswith(f"{mart.title} (definition ")
    assert set(view.comments) == {column.name for column in mart.columns}


def test_a_table_with_another_schema_is_left_out(stack, database):
    database.tables["green_trips"] = Table({"a": "integer"})
    download(stack)
    load(stack)
    assert "'green'" not in database.tables["hourly_demand"].definition


def test_no_dataset_no_view():
    assert definition(MARTS["payment_mix"], [DATASETS["fhv"]]) is None
