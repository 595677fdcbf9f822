"""Published months → marts, one month at a time."""

from dataclasses import replace
from typing import Any

from elt.catalogue import Dataset
from elt.errors import PermanentError
from elt.layout import LOAD_LOG, digest, mart_table
from elt.provenance import Loaded, Origin
from elt.stage_request import Request
from elt.stores.bigquery import BigQuery
from elt.warehouse import load_log
from elt.warehouse.load_log import LogRow
from elt.warehouse.sql import statement


def mart(request: Request) -> dict[str, Any]:
    """Rebuild this month of the marts that the dataset feeds, unless they are of the published rows."""
    with BigQuery(request.settings) as bq:
        log = load_log.latest_in(bq)
        published = log.get((request.ds.name, request.month_text, "warehouse"))
        if published is None:
            raise PermanentError(f"{request}: not in the warehouse. Publish it first.")
        built = log.get((request.ds.name, request.month_text, "mart"))
        reused = not request.ds.feeds or (current(request.ds, built, published) and not request.force)
        if not reused:
            _rebuild(bq, request, published)
            built = load_log.latest_in(bq).get((request.ds.name, request.month_text, "mart"))
    marts = [feed.mart for feed in request.ds.feeds]
    rows = built.rows if built else 0
    return request.result(marts=marts, mart_rows=rows, reused=reused, checksum=published.checksum)


def current(ds: Dataset, built: LogRow | None, published: LogRow) -> bool:
    """Whether a month's marts were built from the rows that are published, by the SQL of today."""
    return built is not None and built.origin.same(_origin(ds, published))


def _origin(ds: Dataset, published: LogRow) -> Origin:
    """What rows of a mart come from: the same file, and rules that include the marts' own."""
    rebuilds = ";".join(_rebuild_one(ds, feed.mart, "mart", "source") for feed in ds.feeds)
    version = digest(f"{published.schema_version} {rebuilds}")
    return replace(published.origin, schema_version=version)


def _rebuild(bq: BigQuery, request: Request, published: LogRow) -> None:
    source = bq.name(request.ds.table)
    marts = {feed.mart: bq.name(mart_table(feed.mart)) for feed in request.ds.feeds}
    rebuilds = [
        text
        for name, table in marts.items()
        for text in (_clear(table), _rebuild_one(request.ds, name, table, source))
    ]
    rows = " + ".join(f"({_count(table)})" for table in marts.values())
    text = statement(
        "rebuild_marts",
        rebuilds=";\n".join(rebuilds),
        log=statement("log", load_log=bq.name(LOAD_LOG), rows=rows),
    )
    origin = _origin(request.ds, published)
    parameters = load_log.values(request, "mart", Loaded(origin, 0, 0, 0)) | load_log.month_value(request)
    since = f"{published.finished_at:%Y%m%dT%H%M%S%f}-{origin.schema_version}"
    if request.force:
        since += f"-{request.started_at:%Y%m%dT%H%M%S%f}"
    bq.execute(text, parameters, load_log.work_of("mart", request, since))


def _rebuild_one(ds: Dataset, name: str, mart: str, source: str) -> str:
    variables = next(feed.variables for feed in ds.feeds if feed.mart == name)
    return statement(f"marts/{name}", mart=mart, source=source, **variables)


_OURS = "dataset = @dataset AND source_month = @source_month"


def _clear(table: str) -> str:
    return f"DELETE FROM {table} WHERE {_OURS}"  # noqa: S608


def _count(table: str) -> str:
    return f"SELECT COUNT(*) FROM {table} WHERE {_OURS}"  # noqa: S608
