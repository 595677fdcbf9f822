"""Published months → marts, one month at a time."""

from dataclasses import replace
from typing import Any

from elt.catalogue import Dataset
from elt.connections import Connections
from elt.errors import PermanentError
from elt.layout import LOAD_LOG, digest, mart_table
from elt.provenance import Loaded, Origin
from elt.stage_request import StageRequest
from elt.stores.bigquery import Warehouse
from elt.warehouse import load_log, tables
from elt.warehouse.load_log import LogRow
from elt.warehouse.sql import statement


def mart(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Rebuild this month of the marts that the dataset feeds, unless they are of the published rows."""
    partition = request.partition
    with connections.warehouse() as warehouse:
        log = load_log.latest(warehouse, [partition])
        published, built = log.get((partition, "warehouse")), log.get((partition, "mart"))
        if published is None:
            raise PermanentError(f"{partition}: not in the warehouse. Publish it first.")
        reused = not request.dataset.feeds or (
            is_current(request.dataset, built, published) and not request.force
        )
        if not reused:
            _rebuild(request, warehouse, published)
            built = load_log.latest(warehouse, [partition]).get((partition, "mart"))
    return request.result(
        marts=[feed.mart for feed in request.dataset.feeds],
        mart_rows=built.rows if built else 0,
        reused=reused,
        checksum=published.origin.checksum,
    )


def is_current(ds: Dataset, built: LogRow | None, published: LogRow) -> bool:
    """Whether a month's marts were built from the rows that are published, by the SQL of today."""
    return built is not None and built.origin.same(_origin(ds, published))


def _origin(ds: Dataset, published: LogRow) -> Origin:
    """What rows of a mart come from: the published file, and rules that include the marts' SQL."""
    # With fixed names for tables, which are no rule: a stack in another project has the same version.
    rebuilds = ";".join(_insert(ds, feed.mart, "mart", "source") for feed in ds.feeds)
    version = digest(f"{published.origin.schema_version} {rebuilds}")
    return replace(published.origin, schema_version=version)


def _rebuild(request: StageRequest, warehouse: Warehouse, published: LogRow) -> None:
    source = warehouse.name(request.dataset.table)
    marts = {feed.mart: warehouse.name(mart_table(feed.mart)) for feed in request.dataset.feeds}
    ours = "dataset = @dataset AND source_month = @source_month"
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
    origin = _origin(request.dataset, published)
    values = load_log.values(request, "mart", Loaded(origin, 0, 0, 0)) | load_log.month_value(request)
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
