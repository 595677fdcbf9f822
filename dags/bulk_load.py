"""`<dataset>_bulk_load`: many small periods at once, from the publisher into lake, warehouse and Postgres."""

from airflow.sdk import DAG, PartitionedAtRuntime

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.layout import dag_id
from elt.orchestration.assets import mart_asset, postgres_asset, table_asset
from elt.orchestration.dag_defaults import dag_defaults
from elt.orchestration.operators import BulkOperator
from elt.orchestration.pools import CONFORM, MART, POSTGRES, publish_pool
from elt.periods import Period

DOC = """
### {title}: many periods at once

What `{name}_to_lake`, `{name}_to_warehouse` and `{name}_to_postgres` do for one period a run, for a range of
them: an Airflow task takes longer than a small period. The range is the run's **partition key**
(`{first}..{last}`). `scripts/run` starts it for long ranges of small periods.

The load log decides what each task still has to do. A period that is late, fails, or is kept back by an audit
is left out, with its reason in the task's log and result; the others go on. `scripts/run` then starts the
ordinary DAGs for it, which retry and alert.

Consumers of the table, the marts and the Postgres table hear of each period; those of the lake do not.
"""


def build(dataset: Dataset, first: Period) -> DAG:
    """The DAG of one dataset by periods."""
    with DAG(
        dag_id(dataset.name, "bulk_load"),
        schedule=PartitionedAtRuntime(),
        doc_md=DOC.format(name=dataset.name, title=dataset.title, first=first, last=first.shift(9)),
        tags=["bulk", dataset.name],
        **dag_defaults(),
    ) as dag:
        lake = BulkOperator(dataset=dataset.name, stage="lake", pool=CONFORM)
        warehouse = BulkOperator(
            dataset=dataset.name,
            stage="warehouse",
            pool=publish_pool(dataset),
            outlets=[table_asset(dataset)],
        )
        lake >> warehouse
        if dataset.feeds:
            rebuilt = [mart_asset(feed.mart) for feed in dataset.feeds]
            warehouse >> BulkOperator(dataset=dataset.name, stage="mart", pool=MART, outlets=rebuilt)
        if dataset.in_postgres:
            lake >> BulkOperator(
                dataset=dataset.name, stage="postgres", pool=POSTGRES, outlets=[postgres_asset(dataset)]
            )
    return dag


for entry in DATASETS.values():
    if entry.tabular and entry.first:
        globals()[dag_id(entry.name, "bulk_load")] = build(entry, entry.first)
