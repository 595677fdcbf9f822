"""Every entry of this project is whole: nothing is left out, and its SQL can be written for both stores."""

from __future__ import annotations

import re

import pytest

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS, MARTS, PROBLEMS
from elt.warehouse import audits, tables
from elt.warehouse.sql import statement

every_dataset = pytest.mark.parametrize("ds", DATASETS.values(), ids=DATASETS)


def test_no_entry_is_left_out() -> None:
    assert [str(problem) for problem in PROBLEMS] == []


def test_every_mart_is_fed() -> None:
    assert MARTS.keys() == {feed.mart for ds in DATASETS.values() for feed in ds.feeds}


@every_dataset
def test_a_table_has_a_column_for_each_of_the_entry(ds: Dataset) -> None:
    described = [column["name"] for column in tables.fields(ds.columns)]
    assert described == [column.name for column in ds.columns]


@every_dataset
def test_its_audits_are_one_query(ds: Dataset) -> None:
    if ds.tabular:
        assert audits.rules(ds, "s", "t").count("AS passed") >= len(ds.audits)


@every_dataset
def test_what_feeds_a_mart_fills_it_in_both_stores(ds: Dataset) -> None:
    for feed in ds.feeds:
        given = {"source": "s", **feed.variables}
        warehouse = statement(f"marts/{feed.mart}", mart="m", **given)
        assert re.search(r"INSERT\s+INTO\s+m\b", warehouse, re.IGNORECASE)
        assert statement(f"postgres/{feed.mart}", dataset=ds.name, **given)
