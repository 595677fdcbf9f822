"""typed/ → staging → audit → warehouse: write, audit, publish."""

import datetime as dt
import json
from typing import Any

from elt.errors import AuditError, PermanentError, TransientError
from elt.layout import LOAD_LOG, staging_table, typed_object
from elt.provenance import Loaded, Origin
from elt.settings import Settings
from elt.stage_request import Request
from elt.stores.bigquery import BigQuery
from elt.stores.gcs import Lake, Stored
from elt.warehouse import load_log
from elt.warehouse.audits import judge
from elt.warehouse.load_log import LogRow
from elt.warehouse.provision import ensure as ensure_tables
from elt.warehouse.provision import ensure_lake_table
from elt.warehouse.sql import statement
from elt.warehouse.tables import Json, dataset_table, staged_fields

# What a run that never came back has staged goes by itself.
_STAGING_LIFE = dt.timedelta(days=2)


def ensure(settings: Settings) -> None:
    """Create what is missing of the catalogue's tables and views; touch nothing that is there."""
    with BigQuery(settings) as bq:
        ensure_tables(bq)


def stage(request: Request) -> dict[str, Any]:
    """Load a typed object into this run's staging table, unless the month is published from it already."""
    lake = Lake(request.settings)
    stored = _typed(request, lake)
    loaded = Loaded.read({**stored.metadata, "bytes": stored.size})
    with BigQuery(request.settings) as bq:
        ensure_tables(bq)
        ensure_lake_table(bq, request.ds, request.settings)
        _check_table(bq, request)
        published = _logged(bq, request, "warehouse")
        if published and published.origin.same(loaded.origin) and not request.force:
            return request.result(staging=None, reused=True, **loaded.facts())
        table = _open_staging(bq, request, loaded)
        work = load_log.work_of("stage", request, table["creationTime"])
        bq.load(_staging(request), lake.uri(stored.name), staged_fields(request.ds), work)
    now = lake.find(stored.name)
    if now is None or now.generation != stored.generation:
        raise TransientError(f"{request}: conformed again while it was staged. Try again.")
    return request.result(staging=_staging(request), reused=False, **loaded.facts())


def audit(request: Request) -> dict[str, Any]:
    """Judge a staged month by the dataset's audits; AuditError if one with severity *stop* does not pass."""
    with BigQuery(request.settings) as bq:
        table = bq.table(_staging(request))
        if table is None:
            return _done_already(bq, request)
        loaded = _manifest(table)
        verdicts = judge(bq, request, table, loaded)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    stopping = [f"{v.audit} ({v.found})" for v in failed if v.severity == "stop"]
    if stopping:
        raise AuditError(f"{request}: nothing was published, audit failed: {'; '.join(stopping)}")
    warnings = [f"{v.audit}: {v.found}" for v in failed]
    return request.result(audits=len(verdicts), warnings=warnings, reused=False, **loaded.facts())


def publish(request: Request) -> dict[str, Any]:
    """Replace the month by what was staged, in one transaction with its load-log row."""
    with BigQuery(request.settings) as bq:
        table = bq.table(_staging(request))
        if table is None:
            return _done_already(bq, request)
        loaded = _manifest(table)
        parameters = load_log.values(request, "warehouse", loaded) | load_log.month_value(request)
        bq.execute(
            _publication(bq, request), parameters, load_log.work_of("publish", request, table["creationTime"])
        )
        bq.drop(_staging(request))
    return request.result(table=request.ds.table, reused=False, **loaded.facts())


def _typed(request: Request, lake: Lake) -> Stored:
    stored = lake.find(typed_object(request.ds, request.month))
    if stored is None:
        raise PermanentError(f"{request.file}: not in the lake's typed/. Conform it first.")
    return stored


def _check_table(bq: BigQuery, request: Request) -> None:
    """Refuse a table of another make than the catalogue's, rather than load into it or change it."""
    table = bq.table(request.ds.table) or {}
    present = _columns(table.get("schema", {}).get("fields", []))
    wanted = _columns(dataset_table(request.ds)["schema"]["fields"])
    if differing := sorted(name for name, _ in present ^ wanted):
        raise PermanentError(
            f"{request}: table {request.ds.table} is not as the catalogue says ({', '.join(differing)}). "
            "Alter it, or drop it and load its months again."
        )


def _columns(fields: list[Json]) -> set[tuple[str, str]]:
    standard = {"INT64": "INTEGER", "FLOAT64": "FLOAT"}
    return {(str(field["name"]), standard.get(field["type"]) or str(field["type"])) for field in fields}


def _staging(request: Request) -> str:
    return staging_table(request.ds, request.month, request.run_id)


def _open_staging(bq: BigQuery, request: Request, loaded: Loaded) -> Json:
    """Create this run's staging table, which says itself what it is of; drop one of something else."""
    name, facts = _staging(request), json.dumps(loaded.facts())
    table = bq.table(name)
    if table is not None and (table.get("description") != facts or request.force):
        bq.drop(name)
    expires = dt.datetime.now(dt.UTC) + _STAGING_LIFE
    made = {
        "description": facts,
        "schema": {"fields": staged_fields(request.ds)},
        "expirationTime": str(int(expires.timestamp() * 1000)),
        "labels": {"app": "taxiway", "use": "staging"},
    }
    bq.create(name, made)
    table = bq.table(name)
    if table is None or table.get("description") != facts:
        raise TransientError(f"{request}: staging table {name} is someone else's. Try again.")
    return table


def _manifest(table: Json) -> Loaded:
    return Loaded.read(json.loads(table["description"]))


def _logged(bq: BigQuery, request: Request, stage_name: load_log.Stage) -> LogRow | None:
    return load_log.latest_in(bq).get((request.ds.name, request.month_text, stage_name))


def _done_already(bq: BigQuery, request: Request) -> dict[str, Any]:
    """Account for a month without staging table: it must be published from what is in the lake now."""
    row, facts = _logged(bq, request, "warehouse"), _typed(request, Lake(request.settings)).metadata
    if row is None or not row.origin.same(Origin.read(facts)):
        raise PermanentError(f"{request}: nothing is staged by this run. Stage it first.")
    loaded = Loaded(row.origin, row.rows or 0, row.quarantined or 0, row.bytes or 0)
    return request.result(table=request.ds.table, reused=True, **loaded.facts())


def _publication(bq: BigQuery, request: Request) -> str:
    return statement(
        "publish_month" if request.month else "publish_whole",
        table=bq.name(request.ds.table),
        staging=bq.name(_staging(request)),
        columns=", ".join(f"`{column.name}`" for column in request.ds.columns),
        log=statement("log", load_log=bq.name(LOAD_LOG), rows="@rows"),
    )
