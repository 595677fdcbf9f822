"""`<dataset>_to_warehouse`: from the lake into the warehouse, once for each period that changed."""

from airflow.sdk import DAG

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.layout import dag_id
from elt.orchestration.assets import follows, mart_asset, table_asset, typed_asset
from elt.orchestration.dag_defaults import dag_defaults
from elt.orchestration.operators import StageOperator
from elt.orchestration.pools import MART, publish_pool

DOC = """
### {title}: lake → warehouse

Write, audit, publish. Runs once for each period that arrives in `typed/{name}/`, with the same partition key.
A BigQuery job that takes longer than some seconds is awaited by the triggerer; the task links to it.

1. **stage** loads it into a staging table of this run.
2. **audit** runs the rules in `sql/audits/` and keeps what they found in `audit_results`: where one with
   severity *stop* fails, nothing is published.
3. **publish** replaces the period in `{table}` in one transaction: readers see the old rows or the new ones.
{marts}
"""
MARTS = "4. **mart** rebuilds this period of the marts: {names}."


def build(dataset: Dataset) -> DAG:
    """The DAG of one dataset."""
    marts = ", ".join(f"`{feed.mart}`" for feed in dataset.feeds)
    with DAG(
        dag_id(dataset.name, "to_warehouse"),
        schedule=follows(dataset, typed_asset(dataset)),
        doc_md=DOC.format(
            name=dataset.name,
            title=dataset.title,
            table=dataset.table,
            marts=MARTS.format(names=marts) if marts else "",
        ),
        tags=["warehouse", dataset.name],
        **dag_defaults(),
    ) as dag:
        typed, table = typed_asset(dataset), table_asset(dataset)
        stage = StageOperator(dataset=dataset.name, stage="stage", inlets=[typed])
        audit = StageOperator(dataset=dataset.name, stage="audit")
        publish = StageOperator(
            dataset=dataset.name, stage="publish", pool=publish_pool(dataset), inlets=[typed], outlets=[table]
        )
        stage >> audit >> publish
        if dataset.feeds:
            rebuilt = [mart_asset(feed.mart) for feed in dataset.feeds]
            publish >> StageOperator(
                dataset=dataset.name, stage="mart", pool=MART, inlets=[table], outlets=rebuilt
            )
    return dag


for entry in DATASETS.values():
    if entry.tabular:
        globals()[dag_id(entry.name, "to_warehouse")] = build(entry)
