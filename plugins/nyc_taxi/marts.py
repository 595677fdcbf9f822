"""Published months → marts, one month at a time."""

from collections.abc import Mapping
from typing import Any

from nyc_taxi import load_log
from nyc_taxi.bigquery import BigQuery
from nyc_taxi.errors import Refused
from nyc_taxi.layout import LOAD_LOG, mart_table
from nyc_taxi.load_log import LogRow
from nyc_taxi.origin import Loaded
from nyc_taxi.request import Request
from nyc_taxi.sql import statement


def mart(request: Request) -> dict[str, Any]:
    """Rebuild this month of the marts that the dataset feeds, unless they are of the published rows."""
    with BigQuery(request.settings) as bq:
        log = load_log.latest_in(bq)
        published = log.get((request.ds.name, request.month_text, "warehouse"))
        if published is None:
            raise Refused(f"{request}: not in the warehouse. Publish it first.")
        built = log.get((request.ds.name, request.month_text, "mart"))
        current = built is not None and built.finished_at >= published.finished_at
        reused = not request.ds.feeds or (current and not request.force)
        if not reused:
            _rebuild(bq, request, published)
    marts = [feed.mart for feed in request.ds.feeds]
    return request.result(marts=marts, reused=reused, checksum=published.checksum)


def _rebuild(bq: BigQuery, request: Request, published: LogRow) -> None:
    rebuilds = [
        text for feed in request.ds.feeds for text in _rebuild_one(bq, request, feed.mart, feed.words)
    ]
    rows = " + ".join(
        f"(SELECT COUNT(*) FROM {bq.name(mart_table(feed.mart))} "  # noqa: S608
        "WHERE dataset = @dataset AND source_month = @source_month)"
        for feed in request.ds.feeds
    )
    text = statement(
        "rebuild_marts",
        rebuilds=";\n".join(rebuilds),
        log=statement("log", load_log=bq.name(LOAD_LOG), rows=rows),
    )
    loaded = Loaded(published.origin, 0, 0, 0)
    parameters = load_log.values(request, "mart", loaded) | load_log.month_value(request)
    since = str(int(published.finished_at.timestamp() * 1000))
    bq.execute(text, parameters, load_log.work_of("mart", request, since))


def _rebuild_one(bq: BigQuery, request: Request, name: str, words: Mapping[str, str]) -> list[str]:
    table = bq.name(mart_table(name))
    names = {"mart": table, "source": bq.name(request.ds.table)}
    clear = f"DELETE FROM {table} WHERE dataset = @dataset AND source_month = @source_month"  # noqa: S608
    return [clear, statement(f"marts/{name}", **names, **words)]
