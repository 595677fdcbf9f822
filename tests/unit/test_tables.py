from nyc_taxi.catalogue import DATASETS, MARTS
from nyc_taxi.sql import statement
from nyc_taxi.tables import all_tables, dataset_table, staged_fields

TABLES = all_tables(lambda table: f"`p.d.{table}`")


def test_every_dataset_and_mart_has_its_table_and_every_mart_a_view_of_zone_names():
    expected = {"load_log", "yellow_trips", "zones", "mart_daily_zone_revenue", "daily_zone_revenue"}
    assert set(TABLES) == expected
    assert {ds.table for ds in DATASETS.values()} <= set(TABLES)
    assert all("`p.d.zones`" in TABLES[mart]["view"]["query"] for mart in MARTS)


def test_views_come_after_the_tables_they_read():
    kinds = ["view" in table for table in TABLES.values()]
    assert kinds == sorted(kinds)


def test_a_monthly_table_is_partitioned_by_source_month_and_clustered():
    table = TABLES["yellow_trips"]
    assert table["timePartitioning"] == {"type": "MONTH", "field": "source_month"}
    assert table["clustering"] == {"fields": ["pu_location_id", "tpep_pickup_datetime"]}


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
    for ds in DATASETS.values():
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
