"""`<dataset>_source_check`: every day, what the publisher has changed, and what came late."""

from airflow.sdk import DAG, CronTriggerTimetable, task_group

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.orchestration.operators import MonthOperator, SourceCheckOperator
from elt.orchestration.pools import CONFORM, DOWNLOAD, SOURCE
from elt.orchestration.wiring import common, raw_asset, source_asset, typed_asset

DOC = """
### {title}: has the source changed?

Publishers replace files that they published before. Every day:

1. **check** asks the source for each file in `raw/{name}/`, with one HEAD request, and compares what it
   says (ETag, else date and size) with what was loaded. It also looks for months that appeared after
   `{name}_to_lake` had stopped waiting for them.
2. **reload**, once for each month that is new or has changed, does with it what `{name}_to_lake` does.
   Whatever follows that follows by itself.

A month that the publisher has withdrawn stays.
"""


def build(dataset: Dataset) -> DAG:
    """The DAG of one dataset."""
    with DAG(
        f"{dataset.name}_source_check",
        schedule=CronTriggerTimetable("0 5 * * *", timezone="UTC"),
        max_active_runs=1,
        doc_md=DOC.format(name=dataset.name, title=dataset.title),
        tags=["lake", "source", dataset.name],
        # Not on the first day: what was loaded a moment ago need not be asked for.
        **common(days_later=1),
    ) as dag:
        raw = raw_asset(dataset)
        check = SourceCheckOperator(dataset=dataset.name, pool=SOURCE, inlets=[source_asset(dataset), raw])

        @task_group
        def reload(month: str) -> None:
            common = {"dataset": dataset.name, "month": month, "map_index_template": "{{ task.month }}"}
            download = MonthOperator(verb="download", pool=DOWNLOAD, outlets=[raw], **common)
            if dataset.tabular:
                typed = typed_asset(dataset)
                download >> MonthOperator(verb="conform", pool=CONFORM, outlets=[typed], **common)

        reload.expand(month=check.output)
    return dag


for entry in DATASETS.values():
    globals()[f"{entry.name}_source_check"] = build(entry)
