"""typed/ → staging → audit → warehouse → marts: write, audit, publish, and rebuild what is made of it."""

import datetime as dt
import json
from dataclasses import replace
from typing import Any

from elt.catalogue import Dataset
from elt.connections import Connections
from elt.errors import AuditError, PermanentError, TransientError
from elt.layout import LOAD_LOG, digest, mart_table, staging_table, typed_object
from elt.provenance import Loaded, Origin
from elt.stage_request import StageRequest
from elt.stores.bigquery import Json, Warehouse
from elt.stores.gcs import Lake, Stored
from elt.warehouse import load_log, tables
from elt.warehouse.audits import judge
from elt.warehouse.load_log import LogRow
from elt.warehouse.sql import statement

# BigQuery deletes what a run that was killed for good has staged; long enough to look into a failed audit.
_STAGING_LIFE = dt.timedelta(days=2)


def stage(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Load a typed object into this run's staging table, unless it is published from it already."""
    with connections.lake() as lake, connections.warehouse() as warehouse:
        stored = _typed(request, lake)
        loaded = Loaded.read({**stored.metadata, "bytes": stored.size})
        _check_table(request, warehouse)
        published = _published(request, warehouse)
        if published and published.origin.same(loaded.origin) and not request.force:
            # No staging table: `audit` and `publish` of this run see by that that there is nothing to do.
            return request.result(staging=None, reused=True, **loaded.facts())
        tables.ensure_lake_table(warehouse, request.dataset, request.settings.bucket)
        table = _open_staging(request, warehouse, loaded)
        # A table that was dropped and created again is new work, although its name is the same.
        work = load_log.work_of("stage", request, table["creationTime"])
        fields = tables.fields(request.dataset.columns)
        warehouse.load(_staging(request), lake.uri(stored.name), fields, work)
        now = lake.find(stored.name)
    # The load job read the object that had the name by then: its rows must be those that were counted.
    if now is None or now.generation != stored.generation:
        raise TransientError(f"{request.partition}: conformed again while it was staged. Try again.")
    return request.result(staging=_staging(request), reused=False, **loaded.facts())


def audit(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Judge what is staged by the dataset's audits; AuditError if one with severity *stop* does not pass."""
    with connections.warehouse() as warehouse:
        table = warehouse.table(_staging(request))
        if table is None:
            return _done_already(request, connections, warehouse)
        loaded = Loaded.read(json.loads(table["description"]))
        verdicts = judge(warehouse, request, table, loaded)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    stopping = [f"{v.audit} ({v.found})" for v in failed if v.severity == "stop"]
    if stopping:
        raise AuditError(f"{request.partition}: nothing was published, audit failed: {'; '.join(stopping)}")
    warnings = [f"{v.audit}: {v.found}" for v in failed]
    return request.result(audits=len(verdicts), warnings=warnings, reused=False, **loaded.facts())


def publish(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Replace the partition by what is staged, in one transaction with its load-log row."""
    with connections.warehouse() as warehouse:
        table = warehouse.table(_staging(request))
        if table is None:
            return _done_already(request, connections, warehouse)
        loaded = Loaded.read(json.loads(table["description"]))
        text = statement(
            "publish_period" if request.period else "publish_whole",
            table=warehouse.name(request.dataset.table),
            staging=warehouse.name(_staging(request)),
            period=request.dataset.period_column,
            columns=", ".join(f"`{column.name}`" for column in request.dataset.columns),
            log=statement("log", load_log=warehouse.name(LOAD_LOG), rows="@rows"),
        )
        values = load_log.values(request, "warehouse", loaded) | load_log.period_values(request.period)
        work = load_log.work_of("publish", request, table["creationTime"])
        tables.with_tables(warehouse, lambda: warehouse.execute(text, values, work))
        # Not in the transaction, where BigQuery allows no DDL: whoever is killed in between publishes
        # again, finds its job done, and drops the table then.
        warehouse.drop(_staging(request))
    return request.result(table=request.dataset.table, reused=False, **loaded.facts())


def mart(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Rebuild this period of the marts that the dataset feeds, unless they are of the published rows."""
    partition, ds = request.partition, request.dataset
    with connections.warehouse() as warehouse:
        log = load_log.latest(warehouse, [partition])
        published, built = log.get((partition, "warehouse")), log.get((partition, "mart"))
        if published is None:
            raise PermanentError(f"{partition}: not in the warehouse. Publish it first.")
        reused = not ds.feeds or (is_current_mart(ds, built, published) and not request.force)
        if not reused:
            _rebuild(request, warehouse, published)
            built = load_log.latest(warehouse, [partition]).get((partition, "mart"))
    return request.result(
        marts=[feed.mart for feed in ds.feeds],
        mart_rows=built.rows if built else 0,
        reused=reused,
        checksum=published.origin.checksum,
    )


def is_current_mart(ds: Dataset, built: LogRow | None, published: LogRow) -> bool:
    """Whether a partition's marts were built from the rows that are published, by the SQL of today."""
    return built is not None and built.origin.same(mart_origin(ds, published))


def mart_origin(ds: Dataset, published: LogRow) -> Origin:
    """What rows of a mart come from: the published file, and rules that include the marts' SQL."""
    # With fixed names for tables, which are no rule: a stack in another project has the same version.
    rebuilds = ";".join(_insert(ds, feed.mart, "mart", "source") for feed in ds.feeds)
    version = digest(f"{published.origin.schema_version} {rebuilds}")
    return replace(published.origin, schema_version=version)


def _rebuild(request: StageRequest, warehouse: Warehouse, published: LogRow) -> None:
    source = warehouse.name(request.dataset.table)
    marts = {feed.mart: warehouse.name(mart_table(feed.mart)) for feed in request.dataset.feeds}
    period = request.dataset.period_column
    ours = f"dataset = @dataset AND {period} = @{period}"
    rebuilds = [
        f"DELETE FROM {table} WHERE {ours};\n{_insert(request.dataset, name, table, source)}"  # noqa: S608
        for name, table in marts.items()
    ]
    counts = [f"(SELECT COUNT(*) FROM {table} WHERE {ours})" for table in marts.values()]  # noqa: S608
    text = statement(
        "rebuild_marts",
        rebuilds=";\n".join(rebuilds),
        log=statement("log", load_log=warehouse.name(LOAD_LOG), rows=" + ".join(counts)),
    )
    origin = mart_origin(request.dataset, published)
    values = load_log.values(request, "mart", Loaded(origin, 0, 0, 0)) | load_log.period_values(
        request.period
    )
    since = f"{published.finished_at:%Y%m%dT%H%M%S%f}-{origin.schema_version}"
    if request.force:
        # Otherwise it would find the job that has built them before. The same instant for a run that comes
        # back to its job, another for each new attempt.
        since += f"-{request.started_at:%Y%m%dT%H%M%S%f}"
    work = load_log.work_of("mart", request, since)
    tables.with_tables(warehouse, lambda: warehouse.execute(text, values, work))


def _insert(ds: Dataset, name: str, mart: str, source: str) -> str:
    variables = next(feed.variables for feed in ds.feeds if feed.mart == name)
    return statement(f"marts/{name}", mart=mart, source=source, **variables)


def _typed(request: StageRequest, lake: Lake) -> Stored:
    stored = lake.find(typed_object(request.dataset, request.period))
    if stored is None:
        raise PermanentError(f"{request.file}: not in the lake's typed/. Conform it first.")
    return stored


def _check_table(request: StageRequest, warehouse: Warehouse) -> None:
    """Raise if the dataset's table has another schema than the catalogue; never alter it."""
    table = warehouse.table(request.dataset.table)
    if table is None:
        # The first partition of a dataset creates everything, so that views and marts have their tables.
        tables.ensure(warehouse)
        return
    present = tables.columns_in(table["schema"]["fields"])
    wanted = tables.columns_in(tables.dataset_table(request.dataset)["schema"]["fields"])
    if differing := sorted({name for name, _ in present ^ wanted}):
        raise PermanentError(
            f"{request.partition}: table {request.dataset.table} is not as the catalogue says "
            f"({', '.join(differing)}). See what to do: scripts/schema {request.dataset.name}"
        )


def _staging(request: StageRequest) -> str:
    return staging_table(request.dataset, request.period, request.run_id)


def _open_staging(request: StageRequest, warehouse: Warehouse, loaded: Loaded) -> Json:
    """Create this run's staging table, whose description says what it is of; replace another one."""
    name, facts = _staging(request), json.dumps(loaded.facts())
    expires = dt.datetime.now(dt.UTC) + _STAGING_LIFE
    wanted = {
        "description": facts,
        "schema": {"fields": tables.fields(request.dataset.columns)},
        "expirationTime": str(int(expires.timestamp() * 1000)),
        "labels": {"app": "taxiway", "use": "staging"},
    }
    # Created first and asked for later: most often there is none yet.
    for _ in range(2):
        if created := warehouse.create(name, wanted):
            return created
        table = warehouse.table(name)
        # A forced run stages again; but a job that was awaited has loaded, or loads, into this very table.
        afresh = request.force and not request.awaited
        if table is not None and table.get("description") == facts and not afresh:
            return table
        warehouse.drop(name)
    raise TransientError(f"{request.partition}: staging table {name} was created by another run. Try again.")


def _published(request: StageRequest, warehouse: Warehouse) -> LogRow | None:
    return load_log.latest(warehouse, [request.partition]).get((request.partition, "warehouse"))


def _done_already(request: StageRequest, connections: Connections, warehouse: Warehouse) -> dict[str, Any]:
    """What to return where nothing is staged: the partition must be published from what the lake has now."""
    with connections.lake() as lake:
        facts = _typed(request, lake).metadata
    row = _published(request, warehouse)
    if row is None or not row.origin.same(Origin.read(facts)):
        raise PermanentError(f"{request.partition}: nothing is staged by this run. Stage it first.")
    loaded = Loaded(row.origin, row.rows or 0, row.quarantined or 0, row.bytes or 0)
    return request.result(table=request.dataset.table, reused=True, **loaded.facts())
