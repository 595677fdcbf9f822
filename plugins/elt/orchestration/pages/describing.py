"""One dataset, one partition, and rows that did not fit, for people."""

from __future__ import annotations

from typing import Any

from elt import status
from elt.catalogue import Dataset
from elt.catalogue.registry import MARTS
from elt.connections import Connections
from elt.layout import quarantine_object
from elt.periods import Partition, Period

# Rows, and letters of a value, that the page has room for.
ROWS, LETTERS = 20, 200


def dataset(ds: Dataset) -> dict[str, Any]:
    """What the catalogue says of a dataset."""
    columns = [
        {"name": c.name, "type": c.type, "unit": c.unit, "required": c.required, "description": c.description}
        for c in ds.columns
    ]
    stores = {"warehouse": ds.tabular, "database (Postgres)": ds.in_postgres}
    # A mart's view may join it: where there are no feeds, it is what its rows are for.
    marts = [mart.name for mart in list(MARTS.values()) if ds.fills(mart.name) or ds.name in mart.lookups]
    return {
        "name": ds.name,
        "title": ds.title,
        "every": ds.every,
        "first": str(ds.first) if ds.first else None,
        "lineage": {
            "source": [f"{getattr(ds.source, 'base_url', '')}{ds.path}"],
            "lake": [f"{area}/{ds.name}/" for area in (("raw", "typed") if ds.tabular else ("raw",))],
            "tables": [f"{ds.table} in the {store}" for store, has in stores.items() if has],
            "marts": marts,
        },
        "columns": columns,
        "audits": [{"name": audit.name, "severity": audit.severity} for audit in ds.audits],
    }


def partition(connections: Connections, ds: Dataset, period: Period | None) -> dict[str, Any]:
    """What every store has of a partition, as `scripts/status` says it."""
    ds.check_period(period)
    (row,) = status.status(connections, [Partition(ds.name, period)])
    return row


def quarantine(connections: Connections, ds: Dataset, period: Period | None) -> dict[str, Any]:
    """The first rows of a partition that did not fit, the reason first; every value a text, or None."""
    import pyarrow.parquet as pq

    ds.check_period(period)
    with connections.lake() as lake:
        stored = lake.find(quarantine_object(ds, period)) if ds.tabular else None
        if stored is None:
            return {"columns": [], "rows": [], "total": 0}
        with lake.open(stored) as file:
            content = pq.ParquetFile(file)
            batch = next(content.iter_batches(ROWS, use_threads=False), None)
            total = content.metadata.num_rows
    names = sorted(content.schema_arrow.names, key=lambda name: name != "reason")
    rows = batch.select(names).to_pylist() if batch is not None else []
    return {"columns": names, "rows": [[_short(row[name]) for name in names] for row in rows], "total": total}


def _short(value: Any) -> str | None:
    return None if value is None else str(value)[:LETTERS]
