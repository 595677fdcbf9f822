"""What there is: rows and bytes by dataset and month, counted in the stores themselves."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elt.catalogue import Dataset, Mart
from elt.catalogue.registry import DATASETS
from elt.errors import TableNotFoundError
from elt.provenance import drift_in
from elt.settings import Settings
from elt.stores.bigquery import BigQuery, Parameter
from elt.stores.gcs import Lake, Stored
from elt.warehouse.audits import Tally
from elt.warehouse.load_log import Key, LogRow, labels, latest_in

Month = tuple[str, str | None]
_STAGES = ("warehouse", "postgres", "typed", "raw")


@dataclass(frozen=True)
class Stores:
    """What each store has, by (dataset, month). `postgres` is None where there is no Postgres."""

    raw: Mapping[Month, Stored]
    typed: Mapping[Month, Stored]
    warehouse: Mapping[Month, int]
    postgres: Mapping[Month, int] | None
    log: Mapping[Key, LogRow]
    audits: Mapping[Month, Tally]

    def months(self) -> list[Month]:
        """Everything that is anywhere, in the catalogue's order."""
        found = {*self.raw, *self.typed, *self.warehouse, *(self.postgres or {})}
        found |= {(dataset, month) for dataset, month, _ in self.log}
        order = list(DATASETS)
        return sorted(
            (key for key in found if key[0] in order), key=lambda k: (order.index(k[0]), k[1] or "")
        )


def status(settings: Settings) -> list[dict[str, Any]]:
    """Describe every month of every dataset that is anywhere.

    `state` is *loaded* where all stores have the same rows of the same file, *missing* where none
    has any. `postgres_rows` is None where there is no Postgres or the dataset does not go there; a
    dataset that is no table has no rows anywhere.
    `drift` are the columns of its file that the catalogue does not know.
    `audit_warnings` and `audit_failures` count the audits that its latest judgement did not pass.
    """
    with BigQuery(settings) as bq:
        log, warehouse, audits = latest_in(bq), _warehouse_rows(bq), Tally.all_in(bq)
    lake = Lake(settings)
    stores = Stores(
        _objects(lake, "raw/"), _objects(lake, "typed/"), warehouse, _postgres_rows(settings), log, audits
    )
    return [_entry(key, stores) for key in stores.months()]


def mart_head(settings: Settings, mart: Mart, n: int) -> list[dict[str, Any]]:
    """The first rows of a mart, as its preview says, times as texts; none before there is a mart."""
    preview = mart.preview
    if preview is None:
        return []
    with BigQuery(settings) as bq:
        query = (
            f"SELECT {', '.join(preview.columns)} FROM {bq.name(mart.name)} "  # noqa: S608
            f"ORDER BY {', '.join(preview.order)} LIMIT @n"
        )
        try:
            rows = bq.rows(query, {"n": Parameter("INT64", n)}, labels("all", "report"))
        except TableNotFoundError:
            return []
    return [{name: str(v) if isinstance(v, dt.date) else v for name, v in row.items()} for row in rows]


def _entry(key: Month, stores: Stores) -> dict[str, Any]:
    raw, typed = stores.raw.get(key), stores.typed.get(key)
    facts: Mapping[str, str] = typed.metadata if typed else {}
    rows = _rows(key, facts, stores)
    tally = stores.audits.get(key, Tally())
    logged = [row for stage in _STAGES if (row := stores.log.get((*key, stage)))]
    return {
        "dataset": key[0],
        "month": key[1],
        "raw_bytes": raw.size if raw else 0,
        **dict.fromkeys(("typed_rows", "warehouse_rows", "postgres_rows")),
        **rows,
        "quarantined_rows": int(facts.get("quarantined", 0)) if rows else None,
        "drift": drift_in(facts),
        "audit_warnings": tally.warnings,
        "audit_failures": tally.failures,
        "state": _state(key, rows, stores),
        "run_id": logged[0].run_id if logged else None,
        "loaded_at": logged[0].finished_at.isoformat() if logged else None,
        "checksum": logged[0].checksum if logged else None,
    }


def _rows(key: Month, facts: Mapping[str, str], stores: Stores) -> dict[str, int]:
    """The rows in every store that the dataset goes to."""
    ds = DATASETS[key[0]]
    rows = {"typed_rows": int(facts.get("rows", 0)), "warehouse_rows": stores.warehouse.get(key, 0)}
    if stores.postgres is not None and ds.in_postgres:
        rows["postgres_rows"] = stores.postgres.get(key, 0)
    return rows if ds.tabular else {}


def _state(key: Month, rows: Mapping[str, int], stores: Stores) -> str:
    raw, typed = stores.raw.get(key), stores.typed.get(key)
    if raw is None and not any(rows.values()):
        return "missing"
    stages = [stage for stage in ("warehouse", "postgres") if f"{stage}_rows" in rows]
    sources = {row.checksum if (row := stores.log.get((*key, stage))) else None for stage in stages}
    objects = (raw, typed) if rows else (raw,)
    sources |= {stored.metadata.get("checksum") if stored else None for stored in objects}
    same = len(set(rows.values())) <= 1 == len(sources)
    return "loaded" if same and None not in sources else "partial"


def _objects(lake: Lake, prefix: str) -> dict[Month, Stored]:
    return {
        (stored.metadata["dataset"], stored.metadata.get("month") or None): stored
        for stored in lake.list(prefix)
        if "dataset" in stored.metadata
    }


def _warehouse_rows(bq: BigQuery) -> dict[Month, int]:
    try:
        present = bq.tables()
    except TableNotFoundError:
        return {}
    counts = [_count(bq, ds) for ds in DATASETS.values() if ds.table in present]
    rows = bq.rows("\nUNION ALL\n".join(counts), {}, labels("all", "report")) if counts else []
    return {(row["dataset"], row["month"]): row["row_count"] for row in rows if row["row_count"]}


def _count(bq: BigQuery, ds: Dataset) -> str:
    month = "FORMAT_DATE('%Y-%m', source_month)" if ds.monthly else "CAST(NULL AS STRING)"
    return (
        f"SELECT '{ds.name}' AS dataset, {month} AS month, COUNT(*) AS row_count "  # noqa: S608
        f"FROM {bq.name(ds.table)} GROUP BY month"
    )


def _postgres_rows(settings: Settings) -> dict[Month, int] | None:
    if settings.postgres_dsn is None:
        return None
    from elt.stores import postgres  # only where there is one

    with postgres.connect(settings.postgres_dsn) as connection:
        return {
            (ds.name, month): rows
            for ds in DATASETS.values()
            if ds.in_postgres
            for month, rows in postgres.count(connection, ds).items()
        }
