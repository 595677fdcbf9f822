"""raw/ → Postgres."""

from dataclasses import asdict
from typing import Any

from nyc_taxi import postgres
from nyc_taxi.frugal import be_frugal
from nyc_taxi.lake import Lake
from nyc_taxi.load_log import record
from nyc_taxi.origin import Loaded, Origin
from nyc_taxi.postgres_views import ensure_views
from nyc_taxi.raw import complete_raw
from nyc_taxi.request import Request
from nyc_taxi.typed import split


def ingest(request: Request) -> dict[str, Any]:
    """Conform a raw file straight into Postgres, unless its rows are there."""
    be_frugal()
    dsn = request.settings.require_postgres()
    lake = Lake(request.settings)
    raw, origin = complete_raw(request, lake)
    with postgres.connect(dsn) as connection:
        there = postgres.loaded(connection, request.ds, request.month) or {}
        reused = not request.force and origin.same(Origin.read(there))
        if not reused:
            with lake.fetch(raw) as source:
                parts = split(source, request.ds, request.month)
                about = {**asdict(origin), "bytes": raw.size, "run_id": request.run_id}
                there = postgres.load(connection, parts, request.ds, request.month, about)
        ensure_views(connection)
    loaded = Loaded.read(there)
    record(request, "postgres", loaded, repeated=reused)
    return request.result(table=request.ds.table, reused=reused, **loaded.facts())
