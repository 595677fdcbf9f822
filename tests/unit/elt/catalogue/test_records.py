"""Entries whose source is no file: what they refuse, and what follows from them."""

from dataclasses import replace

import pytest

from elt import layout
from elt.catalogue import (
    Api,
    Column,
    Cursor,
    Database,
    Dataset,
    Day,
    Hour,
    Month,
    NextLink,
    PageNumber,
    Publisher,
)
from elt.errors import InvalidDatasetError
from elt.periods import Period

COLUMNS = (Column("at", "timestamp", "When."),)
API = Api("rides_api", "https://api.example.com", "data.items", {"from": "{start}"})


def own(**how) -> Dataset:
    entry = {"name": "own", "title": "Own", "table": "own", "key": "at", "columns": COLUMNS}
    return Dataset(**{**entry, "first": Month(2024, 1), **how})


def of_api(**how) -> Dataset:
    return own(**{"source": API, "path": "/rides", **how})


def of_database(**how) -> Dataset:
    return own(**{"source": Database("shop", table="rides", cursor="at"), **how})


@pytest.mark.parametrize(
    ("ds", "form", "raw"),
    [
        (of_api(), "pages", "raw/own/own_2024-03.json-seq"),
        (of_database(), "parquet", "raw/own/own_2024-03.parquet"),
        (of_api(file="{year}-{month}.pages"), "pages", "raw/own/2024-03.pages"),
        (of_api(columns=(), table="", key=""), "pages", "raw/own/own_2024-03.json-seq"),
    ],
)
def test_the_source_says_the_format_and_the_name_in_the_lake(ds, form, raw):
    assert (ds.file_format, layout.raw_object(ds, Month(2024, 3))) == (form, raw)


def test_the_name_in_the_lake_has_the_period_as_far_as_it_goes():
    assert of_api(first=Hour(2024, 1, 1, 0)).file_name(Hour(2024, 3, 5, 7)) == "own_2024-03-05-07.json-seq"
    query = Database("shop", query="SELECT 1 AS at")
    assert own(source=query, first=None).file_name(None) == "own.parquet"


@pytest.mark.parametrize(
    ("period", "filled"),
    [
        (Month(2024, 2), "2024-02-01T00:00:00Z 2024-03-01T00:00:00Z 2024-02-01 2024-03-01 2024-02-29"),
        (Day(2024, 12, 31), "2024-12-31T00:00:00Z 2025-01-01T00:00:00Z 2024-12-31 2025-01-01 2024-12-31"),
        (Hour(2024, 1, 1, 23), "2024-01-01T23:00:00Z 2024-01-02T00:00:00Z 2024-01-01 2024-01-02 2024-01-01"),
    ],
)
def test_templates_are_the_bounds_of_the_period(period: Period, filled: str):
    ds = of_api(first=period)
    assert ds.fill("{start} {end} {start_date} {end_date} {last_date}", period) == filled


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Api("A b", "https://x"), "'A b' cannot be a connection's id"),
        (lambda: Api("a", "ftp://x"), "'ftp://x' is not a URL"),
        (lambda: Api("a", "https://x", "data..items"), "'data..items' is no path of names"),
        (lambda: Api("a", "https://x", paging=NextLink(".next")), "'.next' is no path"),
        (lambda: Api("a", "https://x", paging=PageNumber(total="a.")), "'a.' is no path"),
        (lambda: Api("a", "https://x", paging=Cursor("")), "its cursor has no path"),
        (lambda: Database("a"), "Set either table or query"),
        (lambda: Database("a", "t", "SELECT 1"), "Set either table or query"),
        (lambda: Database("a", "public."), "'public.' is no table"),
        (lambda: Database("a", "t\0"), "a NUL"),
        (lambda: of_api(source=replace(API, params={})), r"do not fit first=Month\(2024, 1\).*params"),
        (lambda: of_api(first=None), "do not fit first=None"),
        (lambda: of_database(source=Database("shop", "rides")), "query, or name the cursor"),
        (lambda: of_database(first=None), "do not fit first=None"),
        (lambda: of_api(format="jsonl"), "Leave format out"),
        (lambda: of_api(reread=-1), "its reread is -1"),
        (lambda: of_api(path="rides").check_source(), "not below the API's URL. Begin it with /"),
        (lambda: of_database(path="/rides").check_source(), "Leave path out"),
    ],
)
def test_a_mistake_is_named_with_the_remedy(make, reason):
    with pytest.raises(InvalidDatasetError, match=reason):
        make()


def test_where_the_records_are_is_a_rule_by_which_conform_reads_and_of_files_there_is_none():
    elsewhere = of_api(source=replace(API, records="items"))
    assert elsewhere.schema_version != of_api().schema_version
    files = own(source=Publisher("p", "https://example.com"), path="/{year}-{month}.csv")
    assert (
        files.schema_version
        == replace(files, source=None).schema_version
        == replace(files, reread=3).schema_version
    )
