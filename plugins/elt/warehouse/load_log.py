"""The load log: a row for each thing that became visible. The latest row of a stage is its state."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from elt.errors import TableNotFoundError
from elt.layout import LOAD_LOG, digest
from elt.provenance import Loaded, Origin
from elt.settings import Settings
from elt.stage_request import Request
from elt.stores.bigquery import BigQuery, Parameter, Work
from elt.warehouse.provision import ensure
from elt.warehouse.sql import statement

Stage = Literal["raw", "typed", "warehouse", "mart", "postgres"]
Key = tuple[str, str | None, str]


@dataclass(frozen=True)
class LogRow:
    """A row of the log; `rows` is None for raw bytes, `month` for a dataset without months."""

    dataset: str
    month: str | None
    stage: str
    rows: int | None
    quarantined: int | None
    bytes: int | None
    checksum: str
    schema_version: str
    source_etag: str | None
    run_id: str
    started_at: dt.datetime
    finished_at: dt.datetime

    @property
    def origin(self) -> Origin:
        """Where its rows come from."""
        return Origin(self.checksum, self.schema_version, self.source_etag)


def values(request: Request, stage: Stage, loaded: Loaded) -> dict[str, Parameter]:
    """Give the values that `log.sql` wants."""
    return {
        "dataset": Parameter("STRING", request.ds.name),
        "month": Parameter("STRING", request.month_text),
        "stage": Parameter("STRING", stage),
        "rows": Parameter("INT64", loaded.rows if stage != "raw" else None),
        "quarantined": Parameter("INT64", loaded.quarantined if stage != "raw" else None),
        "bytes": Parameter("INT64", loaded.bytes),
        "checksum": Parameter("STRING", loaded.origin.checksum),
        "schema_version": Parameter("STRING", loaded.origin.schema_version),
        "source_etag": Parameter("STRING", loaded.origin.source_etag),
        "run_id": Parameter("STRING", request.run_id),
        "started_at": Parameter("TIMESTAMP", request.started_at),
    }


def record(request: Request, stage: Stage, loaded: Loaded, *, repeated: bool = False) -> None:
    """Add a row; `repeated`: only if the latest one says something else.

    A stage that finds its work done adds the row that a killed predecessor may not have added.
    """
    with BigQuery(request.settings) as bq:
        text = statement("log", load_log=bq.name(LOAD_LOG), rows="@rows")
        if repeated:
            text = statement("log_once", log=text, load_log=bq.name(LOAD_LOG))
        work = Work(f"taxiway-log-{uuid4().hex}", labels(request.ds.name, "log"))
        try:
            bq.execute(text, values(request, stage, loaded), work)
        except TableNotFoundError:
            ensure(bq)
            bq.execute(text, values(request, stage, loaded), work)


def latest(settings: Settings) -> dict[Key, LogRow]:
    """Return the latest row of each (dataset, month, stage); nothing where there is no log yet."""
    with BigQuery(settings) as bq:
        return latest_in(bq)


def latest_in(bq: BigQuery) -> dict[Key, LogRow]:
    """Do the same on open connections."""
    query = statement("log_latest", load_log=bq.name(LOAD_LOG))
    try:
        found = [_row(row) for row in bq.rows(query, {}, labels("all", "log"))]
    except TableNotFoundError:
        return {}
    return {(row.dataset, row.month, row.stage): row for row in found}


def month_value(request: Request) -> dict[str, Parameter]:
    """Give the value of `@source_month`, where there is a month."""
    return {"source_month": Parameter("DATE", request.month.first_day())} if request.month else {}


def work_of(step: str, request: Request, since: str) -> Work:
    """Name a job by what it does and by what it does it with, so that a retry finds it."""
    month = request.month_text or "all"
    # A project has one name space of jobs for all its stacks.
    run = digest(f"{request.settings.dataset} {request.run_id}")
    parts = ["taxiway", step, request.ds.name, month, run, since]
    return Work("-".join(parts), {**labels(request.ds.name, step), "month": month})


def labels(dataset: str, step: str) -> Mapping[str, str]:
    """Labels of a job, by which costs can be told apart."""
    return {"app": "taxiway", "dataset": dataset, "step": step}


def _row(row: Mapping[str, Any]) -> LogRow:
    names = {"row_count": "rows", "quarantined_count": "quarantined", "byte_count": "bytes"}
    return LogRow(**{names.get(name, name): value for name, value in row.items()})
