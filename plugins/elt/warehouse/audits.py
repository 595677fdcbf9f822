"""Judging what is staged by the dataset's audits, and keeping what they found."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from elt.catalogue import Dataset
from elt.catalogue.model import PERIOD_COLUMNS
from elt.errors import TableNotFoundError
from elt.layout import AUDIT_RESULTS, digest
from elt.periods import Partition
from elt.provenance import Loaded
from elt.stage_request import StageRequest
from elt.stores.bigquery import Json, Parameter, Warehouse
from elt.warehouse import load_log
from elt.warehouse.sql import audit_statement, statement
from elt.warehouse.tables import with_tables


@dataclass(frozen=True)
class Verdict:
    """What one audit says of a partition; `found` is for people."""

    audit: str
    severity: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Tally:
    """How many audits a partition's latest judgement had, and how many of either severity failed."""

    audits: int = 0
    warnings: int = 0
    failures: int = 0

    @classmethod
    def latest(
        cls, warehouse: Warehouse, partitions: Collection[Partition] | None = None
    ) -> dict[Partition, Self]:
        """Tally some partitions (None: every one that was ever judged)."""
        condition, given = load_log.among(partitions)
        text = statement("audits_latest", audit_results=warehouse.name(AUDIT_RESULTS), partitions=condition)
        try:
            found = warehouse.query(text, given, load_log.labels("report"))
        except TableNotFoundError:
            return {}
        tallies = [(row.pop("dataset"), row.pop("month"), cls(**row)) for row in found]
        return {Partition.parse(dataset, period): tally for dataset, period, tally in tallies}


def judge(warehouse: Warehouse, request: StageRequest, staging: Json, loaded: Loaded) -> list[Verdict]:
    """Judge a staging table once, however often asked; the verdicts are kept whatever they are."""
    ds = request.dataset
    name = str(staging["tableReference"]["tableId"])
    results = warehouse.name(AUDIT_RESULTS)
    audits = rules(ds, warehouse.name(name), warehouse.name(ds.table))
    text = statement("record_audits", audit_results=results, audits=audits)
    # Other rules are other work: whoever corrects a rule and clears the task gets another verdict.
    since = f"{staging['creationTime']}-{digest(rules(ds, 'staging', 'published'))}"
    work = load_log.work_of("audit", request, since)
    owner = load_log.owner(request)
    values = {
        "rows": Parameter("INT64", loaded.rows),
        "quarantined": Parameter("INT64", loaded.quarantined),
        **owner,
        **load_log.period_values(request.period),
    }
    with_tables(warehouse, lambda: warehouse.execute(text, values, work))
    query = statement("audits_of_run", audit_results=results)
    found = warehouse.query(query, owner, load_log.labels("audit", request.partition))
    return [Verdict(**row) for row in found]


def rules(ds: Dataset, staging: str, table: str) -> str:
    """All audits of a dataset as one query: `audit`, `severity`, `passed`, `found`. One job, not ten."""
    # In quotes a column may have a keyword's name: at, end, order.
    columns = [f"`{column.name}`" for column in ds.columns]
    given = {
        "staging": staging,
        "table": table,
        "key": f"`{ds.key}`",
        "key_name": ds.key,
        "period": PERIOD_COLUMNS[ds.every] if ds.every else "",
        "columns": ", ".join(columns),
        "null_shares": ", ".join(f"SAFE_DIVIDE(COUNTIF({c} IS NULL), COUNT(*)) AS {c}" for c in columns),
    }
    return "\nUNION ALL\n".join(
        f"SELECT '{audit.name}' AS audit, '{audit.severity}' AS severity, passed, found\n"
        f"FROM (\n{audit_statement(audit, ds.package, **given)}\n)"
        for audit in ds.audits
    )
