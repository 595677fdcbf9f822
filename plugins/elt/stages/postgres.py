"""raw/ → Postgres, and the marts there: views under the names that they have in the warehouse."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import psycopg
from psycopg import sql

from elt.catalogue import Dataset, Mart
from elt.catalogue.registry import DATASETS, MARTS
from elt.connections import Connections
from elt.layout import digest, identifier
from elt.provenance import Loaded, Origin, read_size
from elt.stage_request import StageRequest
from elt.stages.conform import complete_raw, opened
from elt.stores import postgres as store
from elt.stores.gcs import Lake
from elt.warehouse.load_log import record
from elt.warehouse.sql import statement


def postgres(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Conform a raw file straight into Postgres, unless its rows are there."""
    with connections.lake() as lake, connections.postgres() as connection:
        result, loaded = copy_in(request, lake, connection)
        ensure_views(connection)
    with connections.warehouse() as warehouse:
        record(warehouse, request, "postgres", loaded, repeated=result["reused"])
    return result


def copy_in(
    request: StageRequest, lake: Lake, connection: psycopg.Connection
) -> tuple[dict[str, Any], Loaded]:
    """The same without views and a row in the load log: what `postgres` returns, and what is to be logged."""
    raw, origin = complete_raw(request, lake)
    there = store.loaded(connection, request.dataset, request.period) or {}
    reused = not request.force and origin.same(Origin.read(there))
    if not reused:
        with opened(request, lake, raw) as parts:
            about = {**asdict(origin), "bytes": read_size(raw), "run_id": request.run_id}
            there = store.load(connection, parts, request.dataset, request.period, about)
    loaded = Loaded.read({**there, **asdict(origin)})
    return request.result(table=request.dataset.table, reused=reused, **loaded.facts()), loaded


def ensure_views(connection: psycopg.Connection) -> None:
    """Create or replace the views that differ from the catalogue, over the datasets whose tables are there.

    Datasets whose tables are missing, or have another schema, are left out.
    """
    feeding = [ds for ds in DATASETS.values() if ds.feeds and store.is_as_described(connection, ds)]
    for mart in MARTS.values():
        text = definition(mart, feeding)
        # Compared by a digest in the comment: Postgres gives a view's text back in words of its own.
        query = "SELECT obj_description(to_regclass(%s), 'pg_class')"
        found = connection.execute(query, [mart.name]).fetchone()
        if text and (found is None or found[0] != _title(mart, text)):
            for name in mart.lookups:
                store.ensure_table(connection, DATASETS[name])
            with store.alone(connection, "views"):
                _replace(connection, mart, text)


def definition(mart: Mart, feeding: Collection[Dataset]) -> str | None:
    """The query of a mart's view; None if none of these datasets feeds it."""
    rows = [
        statement(f"postgres/{mart.name}", dataset=ds.name, source=identifier(ds.table), **feed.variables)
        for ds in feeding
        for feed in ds.feeds
        if feed.mart == mart.name
    ]
    if not rows:
        return None
    text = "\nUNION ALL\n".join(rows)
    lookups = {name: identifier(DATASETS[name].table) for name in mart.lookups}
    return statement(f"views/{mart.name}", mart=f"(\n{text}\n)", **lookups)


def _title(mart: Mart, text: str) -> str:
    return f"{mart.title} (definition {digest(text)})"


def _replace(connection: psycopg.Connection, mart: Mart, text: str) -> None:
    name = sql.Identifier(identifier(mart.name))
    create = sql.SQL("CREATE OR REPLACE VIEW {} AS {}").format(name, sql.SQL(text))
    try:
        with connection.transaction():
            connection.execute(create)
    except psycopg.errors.InvalidTableDefinition:
        # Other columns than before, which a view in use cannot be given.
        connection.execute(sql.SQL("DROP VIEW {}").format(name))
        connection.execute(create)
    for column in mart.columns:
        at = sql.Identifier(mart.name, column.name)
        connection.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(at, column.described))
    connection.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(name, _title(mart, text)))
