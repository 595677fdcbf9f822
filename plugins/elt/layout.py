"""What things are called: objects of the lake, tables of the warehouse and of Postgres, DAGs. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Literal

from elt.errors import PermanentError
from elt.months import Month

if TYPE_CHECKING:
    # The catalogue checks its names by what is made of them here.
    from elt.catalogue import Dataset

LOAD_LOG = "load_log"
AUDIT_RESULTS = "audit_results"
# Tables that no dataset and no mart may have.
OWN_TABLES = (LOAD_LOG, AUDIT_RESULTS)

# A DAG of each for each dataset that has something to do there.
Family = Literal["source_check", "to_lake", "to_warehouse", "to_postgres"]

# The last object of a partition of several files that is written.
MANIFEST = "manifest.json"

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


def dag_id(dataset: str, family: Family) -> str:
    """The DAG of one dataset in a family."""
    return f"{dataset}_{family}"


def raw_object(ds: Dataset, month: Month | None) -> str:
    """The file exactly as published; of a partition of several files the list of them."""
    return f"{raw_folder(ds, month)}{MANIFEST}" if ds.sharded else f"raw/{ds.name}/{ds.file_name(month)}"


def raw_folder(ds: Dataset, month: Month | None, listing: str = "") -> str:
    """The folder of a partition of several files, or that of one state of it, known by its `listing`."""
    return f"raw/{ds.name}/{ds.file_name(month)}/{f'{digest(listing)}/' if listing else ''}"


def typed_object(ds: Dataset, month: Month | None) -> str:
    """The same rows in the catalogue's schema."""
    stem = ds.file_name(month).split(".", 1)[0]
    folder = f"year={month.year:04}/month={month.month:02}/" if month else ""
    return f"typed/{ds.name}/{folder}{stem}.parquet"


def quarantine_object(ds: Dataset, month: Month | None) -> str:
    """The rows that do not fit that schema, if there are any."""
    return typed_object(ds, month).replace("typed/", "quarantine/", 1)


def staging_table(ds: Dataset, month: Month | None, run_id: str) -> str:
    """The warehouse table one run loads one month into before its audits."""
    return identifier(f"staging_{ds.name}{_suffix(month)}_{digest(run_id)}")


def partition_table(ds: Dataset, month: Month | None) -> str:
    """Postgres' table of one month (the dataset's own table where there are no months)."""
    return identifier(f"{ds.table}{_suffix(month)}")


def incoming_table(ds: Dataset, month: Month | None, run_id: str) -> str:
    """The Postgres table one run fills before it is swapped in."""
    return identifier(f"incoming_{ds.table}{_suffix(month)}_{digest(run_id)}")


def mart_table(name: str) -> str:
    """Warehouse table of a mart; the mart's plain name is the view that people read."""
    return identifier(f"mart_{name}")


def lake_table(ds: Dataset) -> str:
    """Warehouse table that reads a dataset's typed files where they lie."""
    return identifier(f"{ds.table}_lake")


def _suffix(month: Month | None) -> str:
    return f"_{month.year:04}_{month.month:02}" if month else ""


def digest(text: str) -> str:
    """Ten hexadecimal digits that stand for a text of any length and alphabet, fit for a name."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def identifier(name: str) -> str:
    """Return the name if it is safe to write into SQL and short enough for Postgres; else PermanentError."""
    if not _IDENTIFIER.fullmatch(name) or len(name) > 63:
        raise PermanentError(f"{name!r} cannot be a table or column name: use up to 63 of a-z, 0-9 and _.")
    return name
