from dataclasses import replace

import pytest

from nyc_taxi import catalogue, conform, layout, postgres, tables
from nyc_taxi.catalogue import DATASETS, MARTS
from nyc_taxi.errors import BadMonth, UnknownDataset
from nyc_taxi.months import Month
from nyc_taxi.sql import statement

every_dataset = pytest.mark.parametrize("ds", DATASETS.values(), ids=DATASETS)


def test_the_datasets_are_these():
    assert set(DATASETS) == {"yellow", "zones"}


@every_dataset
def test_names_are_safe_in_sql_and_match_their_entry(ds):
    assert DATASETS[ds.name] is ds
    for name in (ds.table, *(column.name for column in ds.columns)):
        assert layout.identifier(name) == name


@every_dataset
def test_key_and_cluster_columns_are_columns_and_the_key_is_required(ds):
    assert ds.column(ds.key).required
    assert all(ds.column(name) for name in ds.cluster)
    assert len(ds.cluster) <= 4, "BigQuery clusters by four columns at most"


@every_dataset
def test_a_monthly_datasets_key_says_the_month(ds):
    assert not ds.monthly or ds.column(ds.key).type == "datetime"
    assert ds.monthly == ("{month}" in ds.path)
    assert ds.monthly == (ds.first_month is not None)


@every_dataset
def test_every_column_is_described_and_its_type_known_everywhere(ds):
    for column in ds.columns:
        assert column.description.endswith(".")
        assert {column.type} <= conform.ARROW.keys() & postgres.TYPES.keys() & tables.TYPES.keys()


@every_dataset
def test_no_name_in_a_file_can_mean_two_columns(ds):
    names = [name for column in ds.columns for name in column.known_names]
    assert len(names) == len(set(names))


@every_dataset
def test_audits_and_marts_have_their_sql(ds):
    for audit in ds.audits:
        assert "passed" in statement(f"audits/{audit.name}", staging="s", key=ds.key)
    for feed in ds.feeds:
        assert feed.mart in MARTS
        columns = {ds.column(name).name for name in feed.words.values()}
        assert columns
        assert "INSERT INTO m" in statement(f"marts/{feed.mart}", mart="m", source="s", **feed.words)


def test_an_unknown_dataset_is_answered_with_the_known_ones():
    with pytest.raises(UnknownDataset, match=r"'yelow' is unknown. Choose one of: yellow, zones"):
        catalogue.dataset("yelow")


def test_yellow_is_where_tlc_has_it():
    assert DATASETS["yellow"].source_path(Month(2024, 1)) == "/trip-data/yellow_tripdata_2024-01.parquet"
    assert DATASETS["zones"].source_path(None) == "/misc/taxi_zone_lookup.csv"


@pytest.mark.parametrize(
    ("name", "month", "words"),
    [
        ("yellow", None, "by month"),
        ("zones", Month(2024, 1), "without months"),
        ("yellow", Month(1999, 1), "begins with"),
    ],
)
def test_a_month_that_a_dataset_cannot_have_is_refused(name, month, words):
    with pytest.raises(BadMonth, match=words):
        DATASETS[name].source_path(month)


def test_the_schema_version_follows_the_rules_but_not_the_prose():
    ds = DATASETS["yellow"]
    column, *others = ds.columns
    prose = replace(ds, columns=(replace(column, description="Other words."), *others))
    rules = replace(ds, columns=(replace(column, aliases=("Vendor",)), *others))
    assert prose.schema_version == ds.schema_version
    assert rules.schema_version != ds.schema_version
