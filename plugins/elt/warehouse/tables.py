"""The warehouse's tables as BigQuery's API describes them, from the catalogue. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from elt.catalogue import Column, Dataset, Mart, Type
from elt.catalogue.registry import DATASETS, MARTS
from elt.layout import AUDIT_RESULTS, LOAD_LOG, mart_table
from elt.warehouse.sql import statement

Json = dict[str, Any]

TYPES: Mapping[Type, str] = {
    "int16": "INTEGER",
    "int32": "INTEGER",
    "int64": "INTEGER",
    "float64": "FLOAT",
    "string": "STRING",
    "date": "DATE",
    "datetime": "DATETIME",
    "timestamp": "TIMESTAMP",
    "bool": "BOOLEAN",
}
_MONTH = Column("source_month", "date", "First day of the month whose file the row came in.")
_DATASET = Column("dataset", "string", "Dataset of the catalogue that the row came from.")
_LOG = (
    Column("dataset", "string", "Dataset of the catalogue."),
    Column("month", "string", "Month as 2024-01; null for a dataset without months."),
    Column("stage", "string", "raw, typed, warehouse, mart or postgres."),
    Column("row_count", "int64", "Rows that are there since; null for raw bytes."),
    Column("quarantined_count", "int64", "Rows kept out because they do not fit."),
    Column("byte_count", "int64", "Size of the object read or written.", "bytes"),
    Column("checksum", "string", "SHA-256 of the published file all of it comes from."),
    Column("schema_version", "string", "Version of the catalogue's rules it was conformed by."),
    Column("source_etag", "string", "ETag of the published file, where the source gives one."),
    Column("run_id", "string", "Airflow run that did it."),
    Column("started_at", "timestamp", "When the stage began."),
    Column("finished_at", "timestamp", "When the stage's result became visible."),
)
_AUDITS = (
    Column("dataset", "string", "Dataset of the catalogue."),
    Column("month", "string", "Month as 2024-01; null for a dataset without months."),
    Column("run_id", "string", "Airflow run that staged what was judged."),
    Column("audit", "string", "The rule, as its file in sql/audits/ is called."),
    Column("severity", "string", "stop: a month that fails is not published; warn: it is."),
    Column("passed", "bool", "Whether the month keeps to the rule."),
    Column("found", "string", "What the rule counted, for people."),
    Column("checked_at", "timestamp", "When; the same for all rules of a judgement."),
)


def fields(columns: tuple[Column, ...]) -> list[Json]:
    """Describe columns."""
    return [
        {
            "name": column.name,
            "type": TYPES[column.type],
            "description": column.described,
        }
        for column in columns
    ]


def staged_fields(ds: Dataset) -> list[Json]:
    """Describe what a typed file has."""
    return fields(ds.columns)


def dataset_table(ds: Dataset) -> Json:
    """Describe a dataset's table."""
    columns = (_MONTH, *ds.columns) if ds.monthly else ds.columns
    return _table(ds.title, columns, ds.cluster, _MONTH if ds.monthly else None)


def external_table(ds: Dataset, bucket: str) -> Json:
    """Describe the table over a dataset's typed files, with a column for each level of their folders."""
    folder = f"gs://{bucket}/typed/{ds.name}/"
    reading: Json = {"sourceFormat": "PARQUET", "sourceUris": [f"{folder}*"]}
    if ds.monthly:
        prefix = folder + "{year:INTEGER}/{month:INTEGER}"
        reading["hivePartitioningOptions"] = {"mode": "CUSTOM", "sourceUriPrefix": prefix}
    return {
        "description": f"{ds.title}: the lake's typed files",
        "schema": {"fields": staged_fields(ds)},
        "labels": {"app": "taxiway"},
        "externalDataConfiguration": reading,
    }


def _mart_table(mart: Mart) -> Json:
    return _table(mart.title, (_DATASET, _MONTH, *mart.columns), mart.cluster, _MONTH)


def _table(title: str, columns: tuple[Column, ...], cluster: tuple[str, ...], months: Column | None) -> Json:
    """Describe a table; `months` is the column by whose months it is partitioned."""
    table: Json = {"description": title, "schema": {"fields": fields(columns)}, "labels": {"app": "taxiway"}}
    if months:
        table["timePartitioning"] = {"type": "MONTH", "field": months.name}
    if cluster:
        table["clustering"] = {"fields": list(cluster)}
    return table


def all_tables(name: Callable[[str], str]) -> dict[str, Json]:
    """Describe every table and view, views last; `name` makes a table's full name for SQL."""
    log = _table("What was loaded, when and from what; rows are only ever added", _LOG, (), None)
    audits = _table(
        "What each month was judged before it was published, or not; rows are only ever added",
        _AUDITS,
        ("dataset", "month"),
        _AUDITS[-1],
    )
    tables = {LOAD_LOG: log, AUDIT_RESULTS: audits}
    tables |= {ds.table: dataset_table(ds) for ds in DATASETS.values() if ds.tabular}
    tables |= {mart_table(mart.name): _mart_table(mart) for mart in MARTS.values()}
    return tables | {mart.name: _view(mart, name) for mart in MARTS.values()}


def _view(mart: Mart, name: Callable[[str], str]) -> Json:
    lookups = {lookup: name(DATASETS[lookup].table) for lookup in mart.lookups}
    query = statement(f"views/{mart.name}", mart=name(mart_table(mart.name)), **lookups)
    joined = f", with {' and '.join(DATASETS[lookup].title.lower() for lookup in mart.lookups)}"
    return {
        "description": mart.title + (joined if lookups else ""),
        "view": {"query": query, "useLegacySql": False},
    }
