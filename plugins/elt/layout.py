"""What things are called: objects of the lake, tables of the warehouse and of Postgres, DAGs. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Literal

from elt.errors import PermanentError
from elt.periods import Grain, Month, Period, levels

if TYPE_CHECKING:
    # The catalogue checks its names by what is made of them here.
    from elt.catalogue import Dataset

LOAD_LOG = "load_log"
AUDIT_RESULTS = "audit_results"
# Tables that no dataset and no mart may have; the last one is Postgres'.
OWN_TABLES = (LOAD_LOG, AUDIT_RESULTS, "period_loads")

# A DAG of each for each dataset that has something to do there.
Family = Literal["source_check", "to_lake", "to_warehouse", "to_postgres", "bulk_load"]

# The last object of a partition of several files that is written.
MANIFEST = "manifest.json"

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


def dag_id(dataset: str, family: Family) -> str:
    """The DAG of one dataset in a family."""
    return f"{dataset}_{family}"


def raw_object(ds: Dataset, period: Period | None) -> str:
    """The file exactly as published; of a partition of several files the list of them."""
    return f"{raw_folder(ds, period)}{MANIFEST}" if ds.sharded else f"raw/{ds.name}/{ds.file_name(period)}"


def raw_folder(ds: Dataset, period: Period | None, listing: str = "") -> str:
    """The folder of a partition of several files, or that of one state of it, known by its `listing`."""
    return f"raw/{ds.name}/{ds.file_name(period)}/{f'{digest(listing)}/' if listing else ''}"


def typed_object(ds: Dataset, period: Period | None) -> str:
    """The same rows in the catalogue's schema."""
    stem = ds.file_name(period).split(".", 1)[0]
    folder = "".join(f"{level}={text}/" for level, text in zip(folders(ds), _numbers(period), strict=True))
    return f"typed/{ds.name}/{folder}{stem}.parquet"


def folders(ds: Dataset) -> tuple[Grain, ...]:
    """The levels of the folders that a dataset by periods has below typed/: year, month, day, hour."""
    return levels(ds.every)


def quarantine_object(ds: Dataset, period: Period | None) -> str:
    """The rows that do not fit that schema, if there are any."""
    return typed_object(ds, period).replace("typed/", "quarantine/", 1)


def staging_table(ds: Dataset, period: Period | None, run_id: str) -> str:
    """The warehouse table one run loads one partition into before its audits."""
    return identifier(f"staging_{ds.name}{suffix(period)}_{digest(run_id)}")


def partition_table(ds: Dataset, period: Period | None) -> str:
    """Postgres' table of a period's rows (the dataset's own table where there are no periods).

    Days and hours are in that of their month: Postgres locks every table that a query may need, and has room
    for some thousands of locks in all.
    """
    coarse = Month.of(period.start) if period and period.grain in ("day", "hour") else period
    return identifier(f"{ds.table}{suffix(coarse)}")


def incoming_table(ds: Dataset, period: Period | None, run_id: str) -> str:
    """The Postgres table one run fills before it is swapped in."""
    return identifier(f"incoming_{ds.table}{suffix(period)}_{digest(run_id)}")


def mart_table(name: str) -> str:
    """Warehouse table of a mart; the mart's plain name is the view that people read."""
    return identifier(f"mart_{name}")


def lake_table(ds: Dataset) -> str:
    """Warehouse table that reads a dataset's typed files where they lie."""
    return identifier(f"{ds.table}_lake")


def suffix(period: Period | None) -> str:
    """What tables of a period are called behind the name of what they are of: `_2024_01`."""
    return "".join(f"_{number}" for number in _numbers(period))


def _numbers(period: Period | None) -> list[str]:
    """`2024`, `01` and so on, as many as the period has."""
    return re.split("[-T]", str(period)) if period else []


def digest(text: str) -> str:
    """Ten hexadecimal digits that stand for a text of any length and alphabet, fit for a name."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def identifier(name: str) -> str:
    """Return the name if it is safe to write into SQL and short enough for Postgres; else PermanentError."""
    if not _IDENTIFIER.fullmatch(name) or len(name) > 63:
        raise PermanentError(f"{name!r} cannot be a table or column name: use up to 63 of a-z, 0-9 and _.")
    return name
