"""`<dataset>_to_postgres`: from the lake's raw files into a Postgres on this machine."""

from airflow.sdk import DAG

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.orchestration.operators import MonthOperator
from elt.orchestration.pools import DOWNLOAD, POSTGRES
from elt.orchestration.wiring import common, follows, postgres_asset, raw_asset

DOC = """
### {title}: lake → Postgres

Runs by itself, once for each month that arrives in `raw/{name}/`, with the same partition key; or trigger
it with a partition key (`2024-01`), whether the month is in the lake or not.

1. **download** makes sure that the month is in `raw/{name}/`: reuses what is there, fetches what is not.
2. **ingest** streams it from the lake, conformed to the warehouse's schema, into a partition of `{table}`
   that is swapped in at once. It never reads a file that the other task left on a worker's disk.
"""


def build(dataset: Dataset) -> DAG:
    """The DAG of one dataset."""
    with DAG(
        f"{dataset.name}_to_postgres",
        schedule=follows(dataset, raw_asset(dataset)),
        doc_md=DOC.format(name=dataset.name, title=dataset.title, table=dataset.table),
        tags=["postgres", dataset.name],
        **common(),
    ) as dag:
        download = MonthOperator(dataset=dataset.name, verb="download", pool=DOWNLOAD)
        ingest = MonthOperator(
            dataset=dataset.name,
            verb="ingest",
            pool=POSTGRES,
            inlets=[raw_asset(dataset)],
            outlets=[postgres_asset(dataset)],
        )
        download >> ingest
    return dag


for entry in DATASETS.values():
    if entry.in_postgres:
        globals()[f"{entry.name}_to_postgres"] = build(entry)
