"""The product's five datasets and three marts: what users' lakes and queries rely on."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from product import DATASETS, MARTS

from elt.catalogue import Type, registry
from elt.conforming import schema
from elt.periods import Month
from elt.stores import postgres
from elt.warehouse import audits, tables
from elt.warehouse.sql import statement
from nyc_taxi.tlc import TLC

every_dataset = pytest.mark.parametrize("ds", DATASETS.values(), ids=DATASETS)


def test_they_are_listed_in_this_order():
    listed = [name for name, ds in registry.DATASETS.items() if ds.package == "nyc_taxi"]
    assert listed[: len(DATASETS)] == list(DATASETS)


def test_their_schema_versions_are_those_of_the_typed_files_that_users_have():
    # A changed one conforms every month of a user's lake again: on purpose, or not at all.
    assert {name: ds.schema_version for name, ds in DATASETS.items()} == {
        "yellow": "451f25101bcd",
        "green": "f987b19fed33",
        "fhv": "66a18e6e4ca6",
        "fhvhv": "ad4949e02ab8",
        "zones": "222e90aa496a",
    }


def test_their_files_are_where_tlc_has_them():
    assert {ds.source for ds in DATASETS.values()} == {TLC}
    assert TLC.connection == "taxi_source"
    month = Month(2024, 1)
    assert DATASETS["yellow"].url(month) == f"{TLC.base_url}/trip-data/yellow_tripdata_2024-01.parquet"
    assert DATASETS["zones"].url(None) == f"{TLC.base_url}/misc/taxi_zone_lookup.csv"


def test_a_new_platform_has_yellow_trips_and_the_zones_that_they_name():
    assert [name for name, ds in DATASETS.items() if ds.starter] == ["yellow", "zones"]


@every_dataset
def test_every_column_is_described_in_a_sentence(ds):
    assert all(column.description.endswith(".") for column in ds.columns)


@every_dataset
def test_codes_are_of_their_columns_type(ds):
    for column in ds.columns:
        kind = str if column.type == "string" else int
        assert all(code is None or isinstance(code, kind) for code in column.codes.values())


@every_dataset
def test_the_variables_of_audits_and_marts_are_columns_or_sums_of_columns(ds):
    for variables in [entry.variables for entry in (*ds.audits, *ds.feeds)]:
        named = set(re.findall(r"[a-z]\w*", " ".join(variables.values())))
        assert named <= {column.name for column in ds.columns}


@every_dataset
def test_their_audits_are_one_query(ds):
    assert audits.rules(ds, "s", "t").count("AS passed") == len(ds.audits) > 0


@every_dataset
def test_what_feeds_a_mart_fills_it_in_both_stores(ds):
    for feed in ds.feeds:
        assert "INSERT INTO m" in statement(f"marts/{feed.mart}", mart="m", source="s", **feed.variables)
        assert "FROM s" in statement(f"postgres/{feed.mart}", dataset="d", source="s", **feed.variables)


def test_marts_by_zone_join_the_zones_names():
    joining = {name for name, mart in MARTS.items() if mart.lookups == ("zones",)}
    assert joining == {"daily_zone_revenue", "hourly_demand"}


def test_every_type_is_known_in_every_store():
    types = set(get_args(Type))
    assert types == schema.ARROW.keys() == postgres.TYPES.keys() == tables.TYPES.keys()
