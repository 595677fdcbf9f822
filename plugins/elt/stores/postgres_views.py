"""The marts in Postgres: views over the months that are there, under the names they have in the warehouse."""

from collections.abc import Collection

import psycopg
from psycopg import sql

from elt.catalogue import Dataset, Mart
from elt.catalogue.registry import DATASETS, MARTS
from elt.layout import digest, identifier
from elt.stores import postgres
from elt.warehouse.sql import statement


def ensure_views(connection: psycopg.Connection) -> None:
    """Bring the views up to what the catalogue says of the tables that are there; twice changes nothing.

    Datasets that are not there, or not as the catalogue has them, are left out.
    """
    feeding = [ds for ds in DATASETS.values() if ds.feeds and postgres.is_as_described(connection, ds)]
    for mart in MARTS.values():
        text = definition(mart, feeding)
        if text and _comment(connection, mart) != _title(mart, text):
            for name in mart.lookups:
                postgres.ensure_table(connection, DATASETS[name])
            with postgres.alone(connection, "views"):
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


def _comment(connection: psycopg.Connection, mart: Mart) -> str | None:
    query = "SELECT obj_description(to_regclass(%s), 'pg_class')"
    found = connection.execute(query, [mart.name]).fetchone()
    return found[0] if found else None


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
