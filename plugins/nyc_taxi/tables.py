"""The warehouse's tables as BigQuery's API describes them, from the catalogue. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from nyc_taxi.catalogue import DATASETS, MARTS, Column, Dataset, Mart, Type
from nyc_taxi.layout import LOAD_LOG, mart_table
from nyc_taxi.sql import statement

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


def fields(columns: tuple[Column, ...]) -> list[Json]:
    """Describe columns."""
    return [
        {
            "name": column.name,
            "type": TYPES[column.type],
            "description": f"{column.description} ({column.unit})" if column.unit else column.description,
        }
        for column in columns
    ]


def staged_fields(ds: Dataset) -> list[Json]:
    """Describe what a typed file has."""
    return fields(ds.columns)


def dataset_table(ds: Dataset) -> Json:
    """Describe a dataset's table."""
    columns = (_MONTH, *ds.columns) if ds.monthly else ds.columns
    return _table(ds.title, columns, ds.cluster, by_month=ds.monthly)


def _mart_table(mart: Mart) -> Json:
    return _table(mart.title, (_DATASET, _MONTH, *mart.columns), mart.cluster, by_month=True)


def _table(title: str, columns: tuple[Column, ...], cluster: tuple[str, ...], *, by_month: bool) -> Json:
    table: Json = {"description": title, "schema": {"fields": fields(columns)}, "labels": {"app": "taxiway"}}
    if by_month:
        table["timePartitioning"] = {"type": "MONTH", "field": _MONTH.name}
    if cluster:
        table["clustering"] = {"fields": list(cluster)}
    return table


def all_tables(name: Callable[[str], str]) -> dict[str, Json]:
    """Describe every table and view, views last; `name` makes a table's full name for SQL."""
    log = _table("What was loaded, when and from what; rows are only ever added", _LOG, (), by_month=False)
    tables = {LOAD_LOG: log}
    tables |= {ds.table: dataset_table(ds) for ds in DATASETS.values()}
    tables |= {mart_table(mart.name): _mart_table(mart) for mart in MARTS.values()}
    return tables | {mart.name: _view(mart, name) for mart in MARTS.values()}


def _view(mart: Mart, name: Callable[[str], str]) -> Json:
    query = statement(f"views/{mart.name}", mart=name(mart_table(mart.name)), zones=name("zones"))
    return {
        "description": f"{mart.title}, with the zones' names",
        "view": {"query": query, "useLegacySql": False},
    }
