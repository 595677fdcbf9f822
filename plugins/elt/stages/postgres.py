"""raw/ → Postgres."""

from dataclasses import asdict
from typing import Any

from elt.conforming.stream import Split
from elt.frugal import be_frugal
from elt.provenance import Loaded, Origin
from elt.stage_request import Request
from elt.stages.raw import complete_raw
from elt.stores import postgres
from elt.stores.gcs import Lake
from elt.stores.postgres_views import ensure_views
from elt.warehouse.load_log import record


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
            with lake.fetch(raw) as source, Split(source, request.ds, request.month) as parts:
                about = {**asdict(origin), "bytes": raw.size, "run_id": request.run_id}
                there = postgres.load(connection, parts, request.ds, request.month, about)
        ensure_views(connection)
    loaded = Loaded.read(there)
    record(request, "postgres", loaded, repeated=reused)
    return request.result(table=request.ds.table, reused=reused, **loaded.facts())
