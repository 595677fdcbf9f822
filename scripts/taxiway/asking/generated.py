"""Rows that are shown say so where they are generated: beside the answer, which another program may read."""

from __future__ import annotations

import re
import sys
from contextlib import suppress

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.connections import Connections
from elt.errors import PipelineError
from elt.layout import mart_table
from elt.stores.describing import SAMPLE
from taxiway.console.tables import about_sample


def say_if_generated(text: str, connections: Connections) -> None:
    """A line on standard error for the datasets with sample data whose tables or marts a text names.

    As the warehouse's tables describe themselves: a request for each, and none where no table is named.
    """
    words, found = set(re.findall(r"\w+", text.lower())), list[str]()
    named = [ds for ds in DATASETS.values() if ds.tabular and not words.isdisjoint(_names(ds))]
    if not named:
        return
    # Whoever asks Postgres or the lake has an answer, also while the warehouse has none.
    with suppress(PipelineError), connections.warehouse() as warehouse:
        for ds in named:
            described = warehouse.table(ds.table) or {}
            found += [ds.name] if SAMPLE in described.get("description", "") else []
    if found:
        sys.stderr.write(f"{about_sample(found)}\n")


def _names(ds: Dataset) -> set[str]:
    """What a statement calls a dataset, its table and its marts."""
    return {ds.name, ds.table, *(name for feed in ds.feeds for name in (feed.mart, mart_table(feed.mart)))}
