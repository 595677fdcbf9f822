"""Judging what is staged by the dataset's audits, and keeping what they found."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

from elt.catalogue import Dataset
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
    """The audits that a partition's latest judgement did not let pass, those that stop it first."""

    verdicts: tuple[Verdict, ...] = ()

    @property
    def warnings(self) -> int:
        """How many of them only warn."""
        return len(self.verdicts) - self.failures

    @property
    def failures(self) -> int:
        """How many of them have kept the partition from being published."""
        return sum(verdict.severity == "stop" for verdict in self.verdicts)

    @classmethod
    def latest(
        cls, warehouse: Warehouse, partitions: Collection[Partition] | None = None
    ) -> dict[Partition, Self]:
        """Of some partitions (None: of all), those that an audit has something to say about."""
        condition, given = load_log.among(partitions)
        text = statement("audits_latest", audit_results=warehouse.name(AUDIT_RESULTS), partitions=condition)
        try:
            found = warehouse.query(text, given, load_log.labels("report"))
        except TableNotFoundError:
            return {}
        verdicts = dict[Partition, list[Verdict]]()
        for row in found:
            partition = Partition.parse(row.pop("dataset"), row.pop("month"))
            verdicts.setdefault(partition, []).append(Verdict(passed=False, **row))
        return {partition: cls(tuple(among)) for partition, among in verdicts.items()}


def over_time(warehouse: Warehouse, dataset: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every judgement of a dataset, oldest first; and what audits that did not pass found, newest first.

    A judgement has a `month`, `checked_at` and the names of audits (by commas, or None) in `passed`, `warned`
    and `stopped`.
    """
    given, results = {"dataset": Parameter("STRING", dataset)}, warehouse.name(AUDIT_RESULTS)
    texts = (statement(name, audit_results=results) for name in ("audits_over_time", "audits_newest"))
    try:
        judged, found = (list(warehouse.query(text, given, load_log.labels("report"))) for text in texts)
    except TableNotFoundError:
        return [], []
    return judged, found


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
        "period": ds.period_column,
        "columns": ", ".join(columns),
        "null_shares": ", ".join(f"SAFE_DIVIDE(COUNTIF({c} IS NULL), COUNT(*)) AS {c}" for c in columns),
    }
    return "\nUNION ALL\n".join(
        f"SELECT '{audit.name}' AS audit, '{audit.severity}' AS severity, passed, found\n"
        f"FROM (\n{audit_statement(audit, ds.package, **given)}\n)"
        for audit in ds.audits
    )
