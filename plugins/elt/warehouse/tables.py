"""The warehouse's tables, derived from the catalogue: as BigQuery's API describes them, and creating them."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from elt.catalogue import Column, Dataset, Mart, Type
from elt.catalogue.registry import DATASETS, MARTS
from elt.errors import PermanentError, PipelineError
from elt.layout import AUDIT_RESULTS, LOAD_LOG, folders, lake_table, mart_table
from elt.periods import Grain
from elt.stores import period_column
from elt.stores.bigquery import Json, Warehouse
from elt.stores.describing import with_source
from elt.warehouse.sql import statement

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

# The API's names: it answers with these whatever it was sent, and SQL's INT64 would look like a difference.
TYPES: Mapping[Type, str] = {
    **dict.fromkeys(("int16", "int32", "int64"), "INTEGER"),
    "float64": "FLOAT",
    "numeric": "NUMERIC",
    "string": "STRING",
    "date": "DATE",
    "datetime": "DATETIME",
    "timestamp": "TIMESTAMP",
    "bool": "BOOLEAN",
}
# In SQL these have other names; the rest have the same.
SQL_TYPES: Mapping[str, str] = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
_DATASET = Column("dataset", "string", "Dataset of the catalogue that the row came from.")
# Older than datasets by days: BigQuery renames no column that a table is clustered by.
_PERIOD = Column("month", "string", "Period as 2024-01 or 2024-01-05; null for a dataset without any.")
_LOG_COLUMNS = (
    Column("dataset", "string", "Dataset of the catalogue."),
    _PERIOD,
    Column("stage", "string", "raw, typed, warehouse, mart or postgres."),
    Column("row_count", "int64", "Rows that are there since; null for raw bytes."),
    Column("quarantined_count", "int64", "Rows kept out because they do not fit."),
    Column("byte_count", "int64", "Size of the object read or written.", "bytes"),
    Column("checksum", "string", "SHA-256 of the published file all of it comes from."),
    Column("schema_version", "string", "Version of the catalogue's rules it was conformed by."),
    Column("source_etag", "string", "ETag of the published file, where the source gives one."),
    Column("source", "string", "Base URL the published file came from, without user and password."),
    Column("run_id", "string", "Airflow run that did it."),
    Column("started_at", "timestamp", "When the stage began."),
    Column("finished_at", "timestamp", "When the stage's result became visible."),
)
_AUDITS = (
    Column("dataset", "string", "Dataset of the catalogue."),
    _PERIOD,
    Column("run_id", "string", "Airflow run that staged what was judged."),
    Column("audit", "string", "The rule, as its file in sql/audits/ is called."),
    Column("severity", "string", "stop: a partition that fails is not published; warn: it is."),
    Column("passed", "bool", "Whether the partition keeps to the rule."),
    Column("found", "string", "What the rule counted, for people."),
    Column("checked_at", "timestamp", "When; the same for all rules of a judgement."),
)


def fields(columns: tuple[Column, ...]) -> list[Json]:
    """A table's columns as the API's `schema.fields`; those of a dataset are what its typed files have."""
    return [{"name": c.name, "type": TYPES[c.type], "description": c.described} for c in columns]


def columns_in(fields: list[Json]) -> set[tuple[str, str]]:
    """Names and types of a schema, whether it is described in the API's words or in SQL's."""
    standard = {sql: api for api, sql in SQL_TYPES.items()}
    return {(str(field["name"]), standard.get(field["type"], str(field["type"]))) for field in fields}


def dataset_table(ds: Dataset) -> Json:
    """A dataset's table: of one by periods the period comes first, and partitions it."""
    if ds.every is None:
        return _table(ds.title, ds.columns, ds.cluster)
    return _by_period(ds.title, (period_column(ds.every), *ds.columns), ds.cluster, ds.every)


def lake_statement(ds: Dataset, table: str, bucket: str) -> str:
    """The DDL of a table over a dataset's typed files, with a column for each level of their folders."""
    folder = f"gs://{bucket}/typed/{ds.name}"
    options = {
        "description": sql_text(f"{ds.title}: the lake's typed files"),
        "format": sql_text("PARQUET"),
        "uris": f"[{sql_text(f'{folder}/*')}]",
    }
    if levels := _levels(ds):
        options["hive_partition_uri_prefix"] = sql_text(folder)
    columns = (f"  {column_ddl(column)}" for column in ds.columns)
    partitions = ", ".join(f"{name} INT64" for name in levels)
    return statement(
        "lake_table",
        table=table,
        columns=",\n".join(columns),
        partitions=f" WITH PARTITION COLUMNS ({partitions})" if levels else "",
        options=", ".join(f"{name} = {value}" for name, value in options.items()),
    )


def _levels(ds: Dataset) -> tuple[Grain, ...]:
    """The folders that become columns: BigQuery takes none that has the name of a column."""
    taken = {column.name for column in ds.columns}
    return folders(ds) if taken.isdisjoint(folders(ds)) else ()


def column_ddl(column: Column) -> str:
    """A column as CREATE TABLE and ADD COLUMN have it."""
    kind = SQL_TYPES.get(TYPES[column.type], TYPES[column.type])
    return f"`{column.name}` {kind} OPTIONS (description = {sql_text(column.described)})"


def sql_text(text: str) -> str:
    """A text as SQL writes it: JSON's escapes are among BigQuery's."""
    return json.dumps(text, ensure_ascii=False)


def _table(title: str, columns: tuple[Column, ...], cluster: tuple[str, ...] = ()) -> Json:
    table: Json = {"description": title, "schema": {"fields": fields(columns)}, "labels": {"app": "taxiway"}}
    if cluster:
        table["clustering"] = {"fields": list(cluster)}
    return table


def _by_period(title: str, columns: tuple[Column, ...], cluster: tuple[str, ...], grain: Grain) -> Json:
    """A table that is partitioned by the periods of its rows, which their column says."""
    by = period_column(grain).name
    if grain == "hour":
        # A table has room for 10,000 partitions: 27 years of days, but only one of hours. BigQuery reads the
        # blocks of an hour all the same, where the table is clustered by it first.
        grain, cluster = "day", (by, *cluster)[:4]
    return {
        **_table(title, columns, cluster),
        "timePartitioning": {"type": grain.upper(), "field": by},
    }


def _log_table(title: str, columns: tuple[Column, ...]) -> Json:
    """A log, asked for a partition at a time. It grows for ever: by months a user can let old rows expire."""
    table = _table(title, columns, ("dataset", "month"))
    return {**table, "timePartitioning": {"type": "MONTH", "field": columns[-1].name}}


def mart_grain(mart: Mart) -> Grain:
    """The periods by which a mart is kept: those of its feeds, which are the same for all of them."""
    feeding = (ds.every for ds in DATASETS.values() if ds.fills(mart.name))
    return next(filter(None, feeding), "month")


def all_tables(name: Callable[[str], str]) -> dict[str, Json]:
    """Every table and view by its name, views last; `name` makes a table's full name for SQL."""
    loaded = "What was loaded, when and from what; rows are only ever added"
    judged = "What each partition was judged before it was published, or not; rows are only ever added"
    tables = {LOAD_LOG: _log_table(loaded, _LOG_COLUMNS), AUDIT_RESULTS: _log_table(judged, _AUDITS)}
    tables |= {ds.table: dataset_table(ds) for ds in DATASETS.values() if ds.tabular}
    for mart in MARTS.values():
        grain = mart_grain(mart)
        columns = (_DATASET, period_column(grain), *mart.columns)
        tables[mart_table(mart.name)] = _by_period(mart.title, columns, mart.cluster, grain)
    for mart in MARTS.values():
        lookups = {lookup: name(DATASETS[lookup].table) for lookup in mart.lookups}
        query = statement(f"views/{mart.name}", mart=name(mart_table(mart.name)), **lookups)
        titles = [DATASETS[lookup].title.lower() for lookup in mart.lookups]
        described = f"{mart.title}, with {' and '.join(titles)}" if titles else mart.title
        tables[mart.name] = {"description": described, "view": {"query": query, "useLegacySql": False}}
    return tables


def ensure(warehouse: Warehouse) -> bool:
    """Create the catalogue's tables and views that are missing; return whether any was.

    Existing ones stay as they are, except that an older version's load log gets the column it lacks. Several
    tasks may call this at once.
    """
    present = warehouse.tables()
    missing = {name: table for name, table in all_tables(warehouse.name).items() if name not in present}
    for name, table in missing.items():
        warehouse.create(name, table)
    return (LOAD_LOG in present and widen_log(warehouse)) or bool(missing)


def with_tables(warehouse: Warehouse, act: Callable[[], T]) -> T:
    """Call `act`; if it fails and tables or columns were missing, create them and call it again."""
    # Asking first would cost each stage two requests for what is missing once in an environment's life.
    try:
        return act()
    except PermanentError:
        if not ensure(warehouse):
            raise
        return act()


def widen_log(warehouse: Warehouse) -> bool:
    """Add the column that an older version's load log lacks; return whether it lacked one."""
    described = warehouse.table(LOAD_LOG) or {}
    if any(field["name"] == "source" for field in described.get("schema", {}).get("fields", [])):
        return False
    # By SQL: IF NOT EXISTS lets two tasks do it at once, where the API's PATCH would make one of them fail.
    text = statement("log_add_source", load_log=warehouse.name(LOAD_LOG))
    warehouse.query(text, {}, {"app": "taxiway", "step": "migrate"})
    return True


def note_sources(warehouse: Warehouse, ds: Dataset, table: Json, sources: Iterable[str | None]) -> None:
    """Add sources to what a dataset's table, read before, says its rows are from; no request if it says so.

    Called before the rows are published: generated ones are called so too early rather than too late.
    """
    present = table.get("description")
    # Of a dataset without periods all rows are replaced, and so is what they are from.
    text = present if ds.every else None
    for source in sources:
        text = with_source(text, ds, source)
    if not text or text == present:
        return
    try:
        warehouse.describe(ds.table, text, table.get("etag"))
    except PipelineError as error:
        # Google allows five changes of a table in ten seconds. The next partition says it then.
        _LOG.warning("the description of %s does not say where its rows are from: %s", ds.table, error)


def ensure_lake_table(warehouse: Warehouse, ds: Dataset, bucket: str) -> None:
    """Create the table over a dataset's typed files, or replace one that lacks columns.

    No stage reads it, so a stack whose account may not create it loads its data all the same.
    """
    if warehouse.emulated:
        # It has external tables, and they are always empty: worse than none.
        return
    name = lake_table(ds)
    try:
        if not _is_there(warehouse.table(name), ds):
            text = lake_statement(ds, warehouse.name(name), bucket)
            warehouse.query(text, {}, {"app": "taxiway", "step": "lake"})
    except PipelineError as error:
        # Also a transient one: of two partitions that are staged at once, BigQuery may let one create it.
        _LOG.warning("no table over the lake's files of %s: %s", ds.name, error)


def _is_there(table: Json | None, ds: Dataset) -> bool:
    if table is None:
        return False
    wanted = columns_in(fields(ds.columns)) | {(name, "INTEGER") for name in _levels(ds)}
    # A table of rows by that name is a user's own.
    return table.get("type") != "EXTERNAL" or wanted <= columns_in(table["schema"]["fields"])
