"""`<dataset>_to_warehouse`: from the lake into the warehouse, once for each month that changed."""

from airflow.sdk import DAG

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.orchestration.operators import MonthOperator
from elt.orchestration.pools import MART, publish_pool
from elt.orchestration.wiring import common, follows, mart_asset, table_asset, typed_asset

DOC = """
### {title}: lake → warehouse

Write, audit, publish. Runs by itself, once for each month that arrives in `typed/{name}/`, with the same
partition key.

1. **stage** loads the month into a staging table of this run.
2. **audit** asks the rules in `sql/audits/` and keeps what they found in `audit_results`: where one with
   severity *stop* fails, nothing is published.
3. **publish** replaces the month in `{table}` in one transaction: readers see the old month or the new one.
{marts}
"""
MARTS = "4. **mart** computes this month of the marts again: {names}."


def build(dataset: Dataset) -> DAG:
    """The DAG of one dataset."""
    marts = ", ".join(f"`{feed.mart}`" for feed in dataset.feeds)
    with DAG(
        f"{dataset.name}_to_warehouse",
        schedule=follows(dataset, typed_asset(dataset)),
        doc_md=DOC.format(
            name=dataset.name,
            title=dataset.title,
            table=dataset.table,
            marts=MARTS.format(names=marts) if marts else "",
        ),
        tags=["warehouse", dataset.name],
        **common(),
    ) as dag:
        typed, table = typed_asset(dataset), table_asset(dataset)
        stage = MonthOperator(dataset=dataset.name, verb="stage", inlets=[typed])
        audit = MonthOperator(dataset=dataset.name, verb="audit")
        publish = MonthOperator(
            dataset=dataset.name, verb="publish", pool=publish_pool(dataset), inlets=[typed], outlets=[table]
        )
        stage >> audit >> publish
        if dataset.feeds:
            marts_made = [mart_asset(feed.mart) for feed in dataset.feeds]
            publish >> MonthOperator(
                dataset=dataset.name, verb="mart", pool=MART, inlets=[table], outlets=marts_made
            )
    return dag


for entry in DATASETS.values():
    if entry.tabular:
        globals()[f"{entry.name}_to_warehouse"] = build(entry)
