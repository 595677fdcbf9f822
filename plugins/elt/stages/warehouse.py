"""typed/ → staging → audit → warehouse → marts: write, audit, publish, and rebuild what is made of it."""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from elt.catalogue import Dataset
from elt.connections import Connections
from elt.errors import AuditError, PermanentError, TransientError
from elt.layout import LOAD_LOG, digest, mart_table, staging_table, typed_object
from elt.provenance import Loaded, Origin
from elt.stage_request import StageRequest
from elt.stores.bigquery import Json, Parameter, Warehouse
from elt.stores.gcs import Lake, Stored
from elt.warehouse import load_log, tables
from elt.warehouse.audits import Staged, Verdict, created, judge
from elt.warehouse.load_log import LogRow
from elt.warehouse.sql import numbered, statement

# BigQuery deletes what a run that was killed for good has staged; long enough to look into a failed audit.
_STAGING_LIFE = dt.timedelta(days=2)


def stage(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Load a typed object into this run's staging table, unless it is published from it already."""
    with connections.lake() as lake, connections.warehouse() as warehouse:
        stored = find_typed(request, lake)
        loaded = Loaded.read({**stored.metadata, "bytes": stored.size})
        table = check_table(request, warehouse)
        tables.note_sources(warehouse, request.dataset, table, [loaded.origin.source])
        published = _published(request, warehouse)
        if published and published.origin.same(loaded.origin) and not request.force:
            # No staging table: `audit` and `publish` of this run see by that that there is nothing to do.
            return request.result(staging=None, reused=True, **loaded.facts())
        tables.ensure_lake_table(warehouse, request.dataset, request.settings.bucket)
        table = open_staging(request, warehouse, loaded)
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
        verdicts = judge(warehouse, [Staged(request, table, loaded)])[request.period]
    failed = [verdict for verdict in verdicts if not verdict.passed]
    check_passed(request, verdicts)
    warnings = [f"{v.audit}: {v.found}" for v in failed]
    return request.result(audits=len(verdicts), warnings=warnings, reused=False, **loaded.facts())


def check_passed(request: StageRequest, verdicts: Iterable[Verdict]) -> None:
    """Raise AuditError if one with severity *stop* has not passed."""
    stopping = [f"{v.audit} ({v.found})" for v in verdicts if v.severity == "stop" and not v.passed]
    if stopping:
        raise AuditError(f"{request.partition}: nothing was published, audit failed: {'; '.join(stopping)}")


def publish(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Replace the partition by what is staged, in one transaction with its load-log row."""
    with connections.warehouse() as warehouse:
        table = warehouse.table(_staging(request))
        if table is None:
            return _done_already(request, connections, warehouse)
        loaded = Loaded.read(json.loads(table["description"]))
        replace_published(warehouse, [Staged(request, table, loaded)])
    return request.result(table=request.dataset.table, reused=False, **loaded.facts())


def replace_published(warehouse: Warehouse, staged: Sequence[Staged]) -> None:
    """Replace partitions of a dataset by what is staged, in one transaction with their load-log rows."""
    requests, ds = [one.request for one in staged], staged[0].request.dataset
    columns = ", ".join(f"`{column.name}`" for column in ds.columns)
    starts, rows, values = list[str](), list[str](), dict[str, Parameter]()
    for number, one in enumerate(staged):
        of = f"@{ds.period_column}"
        row = f"SELECT {of}, {columns} FROM {warehouse.name(one.name)}"  # noqa: S608
        text, own = numbered(row, number, load_log.period_start(one.request.period))
        starts, rows, values = [*starts, *(f"@{name}" for name in own)], [*rows, text], values | own
    entries = [load_log.Entry(one.request, "warehouse", one.loaded) for one in staged]
    text = statement(
        "publish_period" if ds.every else "publish_whole",
        table=warehouse.name(ds.table),
        staging=warehouse.name(staged[0].name),
        period=ds.period_column,
        periods=", ".join(starts),
        columns=columns,
        rows="\nUNION ALL\n".join(rows),
        log=load_log.added(warehouse.name(LOAD_LOG)),
    )
    values |= load_log.listed(entries)
    work = load_log.work_of_all("publish", requests, created(staged))
    tables.with_tables(warehouse, lambda: warehouse.execute(text, values, work))
    # Not in the transaction, where BigQuery allows no DDL: whoever is killed in between publishes
    # again, finds its job done, and drops the table then.
    for one in staged:
        warehouse.drop(one.name)


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
            rebuild(warehouse, [(request, published)])
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


def rebuild(warehouse: Warehouse, published: Sequence[tuple[StageRequest, LogRow]]) -> None:
    """Rebuild these periods of the marts that their dataset feeds, in one transaction with the log's rows."""
    requests, ds = [request for request, _ in published], published[0][0].dataset
    source, period = warehouse.name(ds.table), ds.period_column
    marts = {feed.mart: warehouse.name(mart_table(feed.mart)) for feed in ds.feeds}
    origins = [mart_origin(ds, row) for _, row in published]
    entries = [
        load_log.Entry(request, "mart", Loaded(origin, 0, 0, 0))
        for request, origin in zip(requests, origins, strict=True)
    ]
    kind = load_log.period_start(requests[0].period)[period].type
    inserts, values = list[str](), dict[str, Parameter]()
    for number, entry in enumerate(entries):
        given = load_log.values(*entry) | load_log.period_values(entry.request.period)
        for name, table in marts.items():
            text, own = numbered(_insert(ds, name, table, source), number, given)
            inserts.append(text)
            values |= own
    starts = ", ".join(f"@{period}_{number}" for number in range(len(requests)))
    ours = f"dataset = @dataset_0 AND {period} IN ({starts})"
    deletes = [f"DELETE FROM {table} WHERE {ours}" for table in marts.values()]  # noqa: S608
    built = [f"SELECT {period} FROM {table} WHERE {ours}" for table in marts.values()]  # noqa: S608
    text = statement(
        "rebuild_marts",
        rebuilds=";\n".join(deletes + inserts),
        log=load_log.added(
            warehouse.name(LOAD_LOG),
            "IFNULL(counted.row_count, 0)",
            statement("mart_counts", period=period, kind=kind, built="\nUNION ALL\n".join(built)),
        ),
    )
    values |= load_log.listed(entries)
    times = [f"{row.finished_at:%Y%m%dT%H%M%S%f}" for _, row in published]
    since = f"{times[0] if len(times) == 1 else digest(' '.join(times))}-{origins[0].schema_version}"
    if requests[0].force:
        # Otherwise it would find the job that has built them before. The same instant for a run that comes
        # back to its job, another for each new attempt.
        since += f"-{requests[0].started_at:%Y%m%dT%H%M%S%f}"
    work = load_log.work_of_all("mart", requests, since)
    tables.with_tables(warehouse, lambda: warehouse.execute(text, values, work))


def _insert(ds: Dataset, name: str, mart: str, source: str) -> str:
    variables = next(feed.variables for feed in ds.feeds if feed.mart == name)
    return statement(f"marts/{name}", mart=mart, source=source, **variables)


def find_typed(request: StageRequest, lake: Lake) -> Stored:
    """A partition's typed object; PermanentError if there is none."""
    stored = lake.find(typed_object(request.dataset, request.period))
    if stored is None:
        raise PermanentError(f"{request.file}: not in the lake's typed/. Conform it first.")
    return stored


def check_table(request: StageRequest, warehouse: Warehouse) -> Json:
    """Describe the dataset's table; raise if it has another schema than the catalogue, never alter it."""
    table = warehouse.table(request.dataset.table)
    if table is None:
        # The first partition of a dataset creates everything, so that views and marts have their tables.
        tables.ensure(warehouse)
        return {}
    present = tables.columns_in(table["schema"]["fields"])
    wanted = tables.columns_in(tables.dataset_table(request.dataset)["schema"]["fields"])
    if differing := sorted({name for name, _ in present ^ wanted}):
        raise PermanentError(
            f"{request.partition}: table {request.dataset.table} is not as the catalogue says "
            f"({', '.join(differing)}). See what to do: scripts/schema {request.dataset.name}"
        )
    return table


def _staging(request: StageRequest) -> str:
    return staging_table(request.dataset, request.period, request.run_id)


def open_staging(request: StageRequest, warehouse: Warehouse, loaded: Loaded) -> Json:
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
        facts = find_typed(request, lake).metadata
    row = _published(request, warehouse)
    if row is None or not row.origin.same(Origin.read(facts)):
        raise PermanentError(f"{request.partition}: nothing is staged by this run. Stage it first.")
    loaded = Loaded(row.origin, row.rows or 0, row.quarantined or 0, row.bytes or 0)
    return request.result(table=request.dataset.table, reused=True, **loaded.facts())
