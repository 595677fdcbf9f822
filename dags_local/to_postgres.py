"""`<dataset>_to_postgres`: from the lake's raw files into a Postgres on this machine."""

from airflow.sdk import DAG

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.layout import dag_id
from elt.orchestration.assets import follows, postgres_asset, raw_asset
from elt.orchestration.dag_defaults import dag_defaults
from elt.orchestration.operators import StageOperator
from elt.orchestration.pools import DOWNLOAD, POSTGRES

DOC = """
### {title}: lake → Postgres

Runs once for each period that arrives in `raw/{name}/`, with the same partition key; or trigger it with a
partition key (such as `2024-01`), whether that period is in the lake or not.

1. **download** makes sure that the file is in `raw/{name}/`: it reuses a file that is there.
2. **load_postgres** streams it from the lake, conformed to the warehouse's schema, into a partition of
   `{table}` that is swapped in at once. It never reads a file that the other task left on a worker's disk.
"""


def build(dataset: Dataset) -> DAG:
    """The DAG of one dataset."""
    with DAG(
        dag_id(dataset.name, "to_postgres"),
        schedule=follows(dataset, raw_asset(dataset)),
        doc_md=DOC.format(name=dataset.name, title=dataset.title, table=dataset.table),
        tags=["postgres", dataset.name],
        **dag_defaults(),
    ) as dag:
        download = StageOperator(dataset=dataset.name, stage="download", pool=DOWNLOAD)
        load = StageOperator(
            task_id="load_postgres",
            dataset=dataset.name,
            stage="postgres",
            pool=POSTGRES,
            inlets=[raw_asset(dataset)],
            outlets=[postgres_asset(dataset)],
        )
        download >> load
    return dag


for entry in DATASETS.values():
    if entry.in_postgres:
        globals()[dag_id(entry.name, "to_postgres")] = build(entry)
