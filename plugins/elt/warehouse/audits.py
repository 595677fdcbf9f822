"""Judging a staged month by the dataset's audits, and keeping what they found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from elt.catalogue import Dataset
from elt.errors import TableNotFoundError
from elt.layout import AUDIT_RESULTS, digest
from elt.provenance import Loaded
from elt.stage_request import Request
from elt.stores.bigquery import BigQuery, Json, Parameter
from elt.warehouse import load_log
from elt.warehouse.load_log import labels
from elt.warehouse.provision import ensure
from elt.warehouse.sql import audit_statement, statement

Month = tuple[str, str | None]


@dataclass(frozen=True)
class Verdict:
    """What one audit says of a month."""

    audit: str
    severity: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Tally:
    """How many audits of a month's latest judgement there were, and failed with either severity."""

    audits: int = 0
    warnings: int = 0
    failures: int = 0

    @classmethod
    def all_in(cls, bq: BigQuery) -> dict[Month, Self]:
        """Tally every month that was ever judged."""
        query = statement("audits_latest", audit_results=bq.name(AUDIT_RESULTS))
        try:
            found = bq.rows(query, {}, labels("all", "report"))
        except TableNotFoundError:
            return {}
        return {
            (row["dataset"], row["month"]): cls(row["audits"], row["warnings"], row["failures"])
            for row in found
        }


def judge(bq: BigQuery, request: Request, staging: Json, loaded: Loaded) -> list[Verdict]:
    """Judge a staging table once, however often asked; the verdicts are kept whatever they are."""
    name = str(staging["tableReference"]["tableId"])
    text = statement(
        "record_audits",
        audit_results=bq.name(AUDIT_RESULTS),
        audits=rules(request.ds, bq.name(name), bq.name(request.ds.table)),
    )
    # Other rules are another judgement: who corrected one clears the task.
    since = f"{staging['creationTime']}-{digest(rules(request.ds, 'staging', 'published'))}"
    work = load_log.work_of("audit", request, since)
    try:
        bq.execute(text, _values(request, loaded), work)
    except TableNotFoundError:
        ensure(bq)
        bq.execute(text, _values(request, loaded), work)
    query = statement("audits_of_run", audit_results=bq.name(AUDIT_RESULTS))
    found = bq.rows(query, _whose(request), labels(request.ds.name, "audit"))
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
        "columns": ", ".join(columns),
        "null_shares": ", ".join(f"SAFE_DIVIDE(COUNTIF({c} IS NULL), COUNT(*)) AS {c}" for c in columns),
    }
    return "\nUNION ALL\n".join(
        f"SELECT '{audit.name}' AS audit, '{audit.severity}' AS severity, passed, found\n"
        f"FROM (\n{audit_statement(audit, ds.package, **given)}\n)"
        for audit in ds.audits
    )


def _values(request: Request, loaded: Loaded) -> Mapping[str, Parameter]:
    counts = {"rows": loaded.rows, "quarantined": loaded.quarantined}
    counted = {name: Parameter("INT64", value) for name, value in counts.items()}
    return counted | _whose(request) | load_log.month_value(request)


def _whose(request: Request) -> dict[str, Parameter]:
    names = {"dataset": request.ds.name, "month": request.month_text, "run_id": request.run_id}
    return {name: Parameter("STRING", value) for name, value in names.items()}
