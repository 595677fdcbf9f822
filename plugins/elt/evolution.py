"""The catalogue's schema against each store's: what differs, what is safe to do there, and what to decide.

Safe is what changes no value and drops none: a column that is added (empty in the rows that are there), and a
type that becomes wider in place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from elt.catalogue import Column, Dataset, Type
from elt.catalogue.model import PERIOD_COLUMNS
from elt.catalogue.registry import MARTS
from elt.connections import Connections
from elt.periods import Period
from elt.stores.bigquery import Json, Warehouse
from elt.warehouse import tables

if TYPE_CHECKING:
    import psycopg

Store = Literal["lake", "warehouse", "Postgres"]
# BigQuery also coerces INT64 to FLOAT64, which rounds beyond 2^53.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement
_BIGQUERY_WIDENS = frozenset({("INTEGER", "NUMERIC")})
_WIDER: tuple[Type, ...] = ("int16", "int32", "int64", "numeric")
_MIGRATE = {"app": "taxiway", "step": "migrate"}


@dataclass(frozen=True)
class Change:
    """One thing in which a store differs from the catalogue.

    `statement` is what makes it as the catalogue says (empty where no single one does); only if `safe` is it
    for `apply`. `remedy` is what to do where it is not.
    """

    store: Store
    column: str
    what: str
    statement: str = ""
    safe: bool = False
    remedy: str = ""


@dataclass(frozen=True)
class Compared:
    """A dataset in one store: `there` says whether there is a table; without `changes` it is as described."""

    store: Store
    there: bool
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class _Dialect:
    """How a store calls types and columns; `widens` says which types become others without loss."""

    store: Store
    table: str
    load_again: str
    name: Callable[[str], str]
    widens: Callable[[str, str], bool]
    add: Callable[[Column], str]
    set_type: str
    sql_types: Mapping[str, str] = field(default_factory=dict)

    def sql_type(self, kind: str) -> str:
        return self.sql_types.get(kind, kind)


def compare(connections: Connections, ds: Dataset) -> list[Compared]:
    """Compare a dataset's tables with its entry, in each store that this target has."""
    with connections.lake() as lake:
        stored = list(lake.list(f"typed/{ds.name}/"))
    old = sum(each.metadata.get("schema_version") != ds.schema_version for each in stored)
    again = f"scripts/run {ds.name}{_span([each.name for each in stored])}"
    what = f"{old} of {len(stored)} files are of an earlier schema"
    change = Change("lake", "", what, remedy=f"Conform them again: {again}")
    found = [Compared("lake", bool(stored), (change,) if old else ())]
    with connections.warehouse() as warehouse:
        found.append(_in_warehouse(warehouse, ds, again))
    if ds.in_postgres and connections.has_postgres:
        with connections.postgres() as connection:
            found.append(_in_postgres(connection, ds, again))
    return found


def _span(names: list[str]) -> str:
    """The periods of typed files, by their folders, as a command line has them: ` 2024-01..2024-03`."""
    found = []
    for name in names:
        if folders := re.findall(r"/(?:year|month|day|hour)=(\d+)", name):
            day, hour = "-".join(folders[:3]), folders[3:]
            found.append(Period.parse("T".join([day, *hour])))
    ends = dict.fromkeys(map(str, (min(found), max(found)))) if found else {}
    return f" {'..'.join(ends)}" if ends else ""


def apply(connections: Connections, ds: Dataset) -> list[Change]:
    """Do what is safe, and return what was done; two that do it at once do it once."""
    with connections.warehouse() as warehouse:
        done = [change for change in _in_warehouse(warehouse, ds).changes if change.safe]
        for change in done:
            # IF NOT EXISTS, or the type that it has already: whoever comes second changes nothing.
            warehouse.query(change.statement, {}, _MIGRATE)
    if ds.in_postgres and connections.has_postgres:
        with connections.postgres() as connection:
            done += _apply_in_postgres(connection, ds)
    return done


def _in_warehouse(warehouse: Warehouse, ds: Dataset, again: str = "") -> Compared:
    table: Json | None = warehouse.table(ds.table)
    if table is None:
        return Compared("warehouse", there=False)

    name = warehouse.name(ds.table)
    dialect = _Dialect(
        store="warehouse",
        table=name,
        load_again=f"{again} --force",
        name=lambda name: f"`{name}`",
        widens=lambda old, new: (old, new) in _BIGQUERY_WIDENS,
        add=lambda column: f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {tables.column_ddl(column)}",
        set_type="SET DATA TYPE",
        sql_types=tables.SQL_TYPES,
    )
    present, described = (
        {field["name"]: dict(tables.columns_in(fields))[field["name"]] for field in fields}
        for fields in (table["schema"]["fields"], tables.dataset_table(ds)["schema"]["fields"])
    )
    return Compared("warehouse", there=True, changes=tuple(_changes(ds, present, described, dialect)))


def _in_postgres(connection: psycopg.Connection, ds: Dataset, again: str = "") -> Compared:
    from elt.stores import postgres

    present = postgres.present_columns(connection, ds)
    if not present:
        return Compared("Postgres", there=False)
    dialect = _Dialect(
        store="Postgres",
        table=f'"{ds.table}"',
        load_again=f"{again} --force",
        name=lambda name: f'"{name}"',
        widens=_postgres_widens,
        add=lambda column: (
            f'ALTER TABLE "{ds.table}" ADD COLUMN "{column.name}" {postgres.TYPES[column.type]}'
        ),
        set_type="TYPE",
    )
    changes = tuple(_changes(ds, present, postgres.wanted_columns(ds), dialect))
    used = postgres.used_by_views(connection, ds)
    return Compared("Postgres", there=True, changes=tuple(_unless_viewed(change, used) for change in changes))


def _postgres_widens(old: str, new: str) -> bool:
    from elt.stores.postgres import TYPES

    order = [TYPES[kind] for kind in _WIDER]
    return old in order and new in order and order.index(old) < order.index(new)


def _unless_viewed(change: Change, used: Mapping[str, list[str]]) -> Change:
    """Postgres changes no type that a view uses: the marts' views are made again, a user's are the user's."""
    views = [view for view in used.get(change.column, []) if view not in MARTS]
    if not change.safe or not views or " TYPE " not in change.statement:
        return change
    remedy = f"Drop the views that use it ({', '.join(views)}), call this again, and make them again."
    return Change(change.store, change.column, change.what, change.statement, remedy=remedy)


def _apply_in_postgres(connection: psycopg.Connection, ds: Dataset) -> list[Change]:
    from psycopg import sql

    from elt.stages.postgres import ensure_views
    from elt.stores import postgres

    done: list[Change] = []
    # As whoever makes views, then as whoever loads the table: both wait.
    with postgres.alone(connection, "views"), postgres.alone(connection, ds.table):
        for change in _in_postgres(connection, ds).changes:
            if not change.safe:
                continue
            views = postgres.used_by_views(connection, ds).get(change.column, [])
            with postgres.without_views(connection, views):
                connection.execute(sql.SQL(change.statement))
            done.append(change)
    if done:
        ensure_views(connection)
    return done


def _changes(
    ds: Dataset, present: Mapping[str, str], described: Mapping[str, str], dialect: _Dialect
) -> Iterator[Change]:
    columns = {column.name: column for column in ds.columns}
    kept, wanted = (
        [column for column in PERIOD_COLUMNS.values() if column in names and column not in columns]
        for names in (present, described)
    )
    if kept != wanted:
        # No table can be told to be partitioned otherwise.
        what = (
            f"is kept by {', '.join(kept) or 'none'}, and by {', '.join(wanted) or 'none'} in the catalogue"
        )
        yield Change(
            dialect.store, "the table", what, f"DROP TABLE {dialect.table}",
            remedy=f"Drop it by this statement, then load it again: {dialect.load_again}",
        )  # fmt: skip
        return
    surplus = [name for name in present if name not in described]
    renamed = set[str]()
    for name, kind in described.items():
        if name not in present:
            # A column of that type that nobody knows: renamed, or one removed and another added.
            twins = [other for other in surplus if present[other] == kind]
            renamed.update(twins)
            yield _missing(columns[name], twins, dialect)
        elif present[name] != kind:
            yield _retyped(name, present[name], kind, dialect)
    for name in surplus:
        if name not in renamed:
            drop = f"ALTER TABLE {dialect.table} DROP COLUMN {dialect.name(name)}"
            remedy = "Describe it again in the entry; or drop it, with its values, by this statement."
            yield Change(dialect.store, name, "not in the catalogue", drop, remedy=remedy)


def _missing(column: Column, twins: list[str], dialect: _Dialect) -> Change:
    if not twins:
        return Change(dialect.store, column.name, f"missing ({column.type})", dialect.add(column), safe=True)
    rename = (
        f"ALTER TABLE {dialect.table} RENAME COLUMN {dialect.name(twins[0])} TO {dialect.name(column.name)}"
    )
    drop = f"ALTER TABLE {dialect.table} DROP COLUMN {dialect.name(twins[0])}"
    remedy = (
        f"If it is {twins[0]} by another name, rename that by this statement. If not, drop {twins[0]} "
        f"({drop}), then call this again."
    )
    what = f"missing ({column.type}), and {', '.join(twins)} is not in the catalogue"
    return Change(dialect.store, column.name, what, rename, remedy=remedy)


def _retyped(name: str, present: str, described: str, dialect: _Dialect) -> Change:
    old, new = dialect.sql_type(present), dialect.sql_type(described)
    what = f"is {old}, and {new} in the catalogue"
    if dialect.widens(present, described):
        text = f"ALTER TABLE {dialect.table} ALTER COLUMN {dialect.name(name)} {dialect.set_type} {new}"
        return Change(dialect.store, name, what, text, safe=True)
    remedy = (
        "Give the column its old type, or another name, in the entry; or drop the table by this statement, "
        f"then load it again: {dialect.load_again}"
    )
    return Change(dialect.store, name, what, f"DROP TABLE {dialect.table}", remedy=remedy)
