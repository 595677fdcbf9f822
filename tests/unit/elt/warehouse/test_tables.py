import pytest

from elt.catalogue.registry import DATASETS, MARTS
from elt.errors import PermanentError, TableNotFoundError
from elt.layout import typed_object
from elt.periods import Month
from elt.warehouse.sql import statement
from elt.warehouse.tables import (
    all_tables,
    dataset_table,
    ensure,
    fields,
    lake_statement,
    with_tables,
)

TABLES = all_tables(lambda table: f"`p.d.{table}`")


def test_every_dataset_and_mart_has_its_table_and_every_mart_a_view():
    expected = {"load_log", "audit_results"} | {ds.table for ds in DATASETS.values() if ds.tabular}
    expected |= {name for mart in MARTS for name in (mart, f"mart_{mart}")}
    assert set(TABLES) == expected
    views = {name for name, table in TABLES.items() if "view" in table}
    assert views == set(MARTS)
    assert all(f"`p.d.mart_{mart}`" in TABLES[mart]["view"]["query"] for mart in MARTS)


def test_views_come_after_the_tables_they_read():
    kinds = ["view" in table for table in TABLES.values()]
    assert kinds == sorted(kinds)


def test_a_monthly_table_is_partitioned_by_source_month_and_clustered():
    table = TABLES["yellow_trips"]
    assert table["timePartitioning"] == {"type": "MONTH", "field": "source_month"}
    assert table["clustering"] == {"fields": ["pu_location_id", "tpep_pickup_datetime"]}


@pytest.mark.parametrize("name", [f"mart_{mart}" for mart in MARTS])
def test_a_mart_is_partitioned_and_clustered_too(name):
    assert TABLES[name]["timePartitioning"] == {"type": "MONTH", "field": "source_month"}
    assert TABLES[name].get("clustering", {}).get("fields", []) == list(
        MARTS[name.removeprefix("mart_")].cluster
    )
    assert [field["name"] for field in TABLES[name]["schema"]["fields"]][:2] == ["dataset", "source_month"]


@pytest.mark.parametrize(("name", "field"), [("audit_results", "checked_at"), ("load_log", "finished_at")])
def test_what_only_grows_is_partitioned_by_time_and_found_by_partition(name, field):
    assert TABLES[name]["timePartitioning"] == {"type": "MONTH", "field": field}
    assert TABLES[name]["clustering"] == {"fields": ["dataset", "month"]}


def test_the_log_has_a_place_for_every_value_that_is_put_into_it():
    columns = {field["name"] for field in TABLES["load_log"]["schema"]["fields"]}
    for name in ("log", "log_once"):
        named = statement(name, load_log="log", rows="@rows", counts="").split("(")[1].split(")")[0]
        assert {column.strip() for column in named.split(",")} == columns


def test_the_lakes_files_are_a_table_with_a_column_for_each_level_of_their_folders():
    text = lake_statement(DATASETS["yellow"], "t", "b")
    assert "CREATE OR REPLACE EXTERNAL TABLE t (\n  `vendor_id` INT64 OPTIONS (description = " in text
    assert ") WITH PARTITION COLUMNS (year INT64, month INT64)\n" in text
    assert 'format = "PARQUET", uris = ["gs://b/typed/yellow/*"]' in text
    prefix = text.partition('hive_partition_uri_prefix = "gs://b/')[2].partition('"')[0]
    month = typed_object(DATASETS["yellow"], Month(2024, 1))
    assert month.removeprefix(prefix).startswith("/year=2024/month=01/")
    assert all(column.described in text for column in DATASETS["yellow"].columns)
    whole = lake_statement(DATASETS["zones"], "t", "b")
    assert "PARTITION" not in whole
    assert "hive" not in whole


def test_a_dataset_without_months_is_not_partitioned():
    assert "timePartitioning" not in TABLES["zones"]


def test_every_column_of_every_table_is_described():
    for table in TABLES.values():
        assert all(field["description"] for field in table.get("schema", {"fields": []})["fields"])


def test_units_are_in_the_descriptions():
    fields = {field["name"]: field for field in TABLES["yellow_trips"]["schema"]["fields"]}
    assert fields["fare_amount"]["description"] == "Time-and-distance fare. (USD)"
    assert fields["tpep_pickup_datetime"]["type"] == "DATETIME", "TLC's times are local, without zone"


def test_a_staging_table_has_what_a_typed_file_has():
    for ds in [ds for ds in DATASETS.values() if ds.tabular]:
        month = ["source_month"] if ds.every else []
        names = [field["name"] for field in dataset_table(ds)["schema"]["fields"]]
        assert names == month + [field["name"] for field in fields(ds.columns)]


def test_publishing_is_one_transaction_that_ends_with_the_log():
    for name in ("publish_period", "publish_whole"):
        text = statement(
            name, table="t", staging="s", period="source_day", periods="@source_day_0", columns="a, b",
            rows="SELECT 1", log="INSERT INTO log SELECT 1",
        )  # fmt: skip
        steps = [line.split()[0] for line in text.replace("\n", " ").split("; ") if line.strip()]
        assert "BEGIN TRANSACTION; DELETE FROM t WHERE" in " ".join(text.split())
        assert text.endswith("INSERT INTO log SELECT 1;\nCOMMIT TRANSACTION")
        assert len(steps) == 5


def test_what_is_missing_is_created_and_what_is_there_stays(stack):
    with stack.warehouse() as warehouse:
        assert ensure(warehouse)
        assert set(stack.bigquery.tables) == set(TABLES)
        del stack.bigquery.tables["hourly_demand"]
        stack.bigquery.sql("DROP VIEW d.hourly_demand")
        before = {name: table["creationTime"] for name, table in stack.bigquery.tables.items()}
        assert ensure(warehouse)
        assert not ensure(warehouse), "there was nothing to do"
    after = {name: table["creationTime"] for name, table in stack.bigquery.tables.items()}
    assert after.pop("hourly_demand")
    assert after == before


def test_several_may_create_the_tables_at_once(stack):
    def overtake(request):
        # When we have listed the tables somebody else makes them all.
        stack.bigquery.after = lambda _: None
        with stack.warehouse() as other:
            ensure(other)

    stack.bigquery.after = overtake
    with stack.warehouse() as warehouse:
        ensure(warehouse)
    assert set(stack.bigquery.tables) == set(TABLES)


def test_what_needs_tables_is_done_again_once_they_are_made(stack):
    tries = []

    def act():
        tries.append(len(stack.bigquery.tables))
        if not stack.bigquery.tables:
            raise TableNotFoundError("no table")
        return "done"

    with stack.warehouse() as warehouse:
        assert with_tables(warehouse, act) == "done"
    assert tries == [0, len(TABLES)]


def test_what_fails_although_the_tables_are_there_has_failed(stack):
    def act():
        raise PermanentError("broken")

    with stack.warehouse() as warehouse:
        ensure(warehouse)
        with pytest.raises(PermanentError, match="broken"):
            with_tables(warehouse, act)
