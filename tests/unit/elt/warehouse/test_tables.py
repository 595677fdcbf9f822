import pytest

from elt.catalogue.registry import DATASETS, MARTS
from elt.layout import typed_object
from elt.months import Month
from elt.warehouse.sql import statement
from elt.warehouse.tables import all_tables, dataset_table, external_table, staged_fields

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


def test_what_audits_found_is_kept_by_the_month_they_found_it_in():
    assert TABLES["audit_results"]["timePartitioning"] == {"type": "MONTH", "field": "checked_at"}


def test_the_lakes_files_are_a_table_with_a_column_for_each_level_of_their_folders():
    table = external_table(DATASETS["yellow"], "b")
    reading = table["externalDataConfiguration"]
    assert (reading["sourceFormat"], reading["sourceUris"]) == ("PARQUET", ["gs://b/typed/yellow/*"])
    month = typed_object(DATASETS["yellow"], Month(2024, 1))
    prefix = reading["hivePartitioningOptions"]["sourceUriPrefix"]
    assert prefix == "gs://b/typed/yellow/{year:INTEGER}/{month:INTEGER}"
    assert month.startswith("typed/yellow/year=2024/month=01/")
    assert table["schema"]["fields"] == staged_fields(DATASETS["yellow"])
    assert (
        "hivePartitioningOptions" not in external_table(DATASETS["zones"], "b")["externalDataConfiguration"]
    )


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
        month = ["source_month"] if ds.monthly else []
        names = [field["name"] for field in dataset_table(ds)["schema"]["fields"]]
        assert names == month + [field["name"] for field in staged_fields(ds)]


def test_publishing_is_one_transaction_that_ends_with_the_log():
    for name in ("publish_month", "publish_whole"):
        text = statement(name, table="t", staging="s", columns="a, b", log="INSERT INTO log SELECT 1")
        steps = [line.split()[0] for line in text.replace("\n", " ").split("; ") if line.strip()]
        assert "BEGIN TRANSACTION; DELETE FROM t WHERE" in " ".join(text.split())
        assert text.endswith("INSERT INTO log SELECT 1;\nCOMMIT TRANSACTION")
        assert len(steps) == 5
