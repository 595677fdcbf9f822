"""What a month costs on BigQuery: jobs and tables as a test counts them, bytes by the columns they read."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import yaml

from elt.catalogue import Dataset
from elt.warehouse.load_log import COMPARED
from taxiway.environment.home import REPOSITORY

COUNTS = REPOSITORY / "tests" / "integration" / "elt" / "work.yaml"
# Bytes of a value; null is billed as nothing, and a table that a statement reads as no less than LEAST.
_WIDTH = {"string": 3, "bool": 1, "numeric": 16}
_WIDTH_OF_OTHERS = 8
LEAST = 10 * 2**20


def bytes_of_a_row(entry: Dataset, published: Collection[str]) -> dict[str, int]:
    """Bytes that a row is billed by stage, for a dataset by months whose file has columns of these names.

    The months before, with which an audit compares, are taken to have as many rows.
    """
    names = {name.lower() for name in published}
    present = {c.name: _WIDTH.get(c.type, _WIDTH_OF_OTHERS) for c in entry.columns if names & c.known_names}
    row = sum(present.values())
    used = [set(re.findall(r"\w+", " ".join(feed.variables.values()))) for feed in entry.feeds]
    marts = sum(present[name] for columns in used for name in columns & present.keys())
    return {
        "audit": row * (1 + COMPARED["month"]),
        "publish": row,
        "mart": marts + _WIDTH_OF_OTHERS * len(entry.feeds),
    }


def bill(entry: Dataset, published: Collection[str], rows: int) -> dict[str, Any]:
    """Jobs by stage, tables read, and MB billed for a month of so many rows."""
    counts = yaml.safe_load(COUNTS.read_text())
    jobs, tables = counts["jobs"], sum(counts["tables read"].values())
    each = bytes_of_a_row(entry, published)
    return {
        "jobs": {stage: "; ".join(found) for stage, found in jobs.items()},
        "jobs_a_month": sum(map(len, jobs.values())),
        "tables_read_a_month": tables,
        "bytes_billed_a_row": each,
        "mb_billed_a_month": max(sum(each.values()) * rows, tables * LEAST) / 1e6,
    }
