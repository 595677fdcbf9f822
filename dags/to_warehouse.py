"""`<dataset>_to_warehouse`: from the lake into the warehouse, once for each month that changed."""

from airflow.sdk import DAG, task

from nyc_taxi.catalogue import DATASETS, Dataset
from nyc_taxi.operators import MonthOperator
from nyc_taxi.pools import publish_pool
from nyc_taxi.wiring import RETRIES, follows, mart_asset, run_verb, schedule_start, table_asset, typed_asset

DOC = """
### {title}: lake → warehouse

Write, audit, publish. Runs by itself, once for each month that arrives in `typed/{name}/`, with the same
partition key.

1. **stage** loads the month into a staging table of this run.
2. **audit** asks the rules in `sql/audits/`: where one with severity *stop* fails, nothing is published.
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
        start_date=schedule_start(),
        catchup=False,
        default_args=RETRIES,
        doc_md=DOC.format(
            name=dataset.name,
            title=dataset.title,
            table=dataset.table,
            marts=MARTS.format(names=marts) if marts else "",
        ),
        tags=["warehouse", dataset.name],
    ) as dag:

        @task
        def stage() -> dict[str, object]:
            return run_verb("stage", dataset)

        @task
        def audit() -> dict[str, object]:
            return run_verb("audit", dataset)

        pool = publish_pool(dataset)
        publish = MonthOperator(
            dataset=dataset.name, verb="publish", pool=pool, outlets=[table_asset(dataset)]
        )
        stage() >> audit() >> publish
        if dataset.feeds:
            outlets = [mart_asset(feed.mart) for feed in dataset.feeds]
            publish >> MonthOperator(dataset=dataset.name, verb="mart", pool=pool, outlets=outlets)
    return dag


for entry in DATASETS.values():
    globals()[f"{entry.name}_to_warehouse"] = build(entry)
