"""`<dataset>_source_check`: every day, what the publisher has changed, and what was published late."""

from airflow.sdk import DAG, CronTriggerTimetable, task_group

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.layout import dag_id
from elt.orchestration.assets import raw_asset, source_asset, typed_asset
from elt.orchestration.dag_defaults import dag_defaults
from elt.orchestration.operators import SourceCheckOperator, StageOperator
from elt.orchestration.pools import CONFORM, DOWNLOAD, SOURCE

DOC = """
### {title}: has the source changed?

Publishers replace files that they published before. Every day:

1. **check** requests the headers of each file in `raw/{name}/` from the source and compares them (ETag, else
   date and size) with what was loaded. Rows of an API or a database have nothing to compare: as many of the
   latest periods as the entry's `reread` says are read again. It also finds periods that were published
   after `{name}_to_lake` had stopped waiting for them.
2. **reload**, once for each period that is new or has changed, does what `{name}_to_lake` does. The resulting
   asset events trigger the downstream DAGs.

A period that the publisher has withdrawn stays.
"""


def build(dataset: Dataset) -> DAG:
    """The DAG of one dataset."""
    with DAG(
        dag_id(dataset.name, "source_check"),
        schedule=CronTriggerTimetable("0 5 * * *", timezone="UTC"),
        max_active_runs=1,
        doc_md=DOC.format(name=dataset.name, title=dataset.title),
        tags=["lake", "source", dataset.name],
        # Not on the first day: what was loaded a moment ago has not changed since.
        **dag_defaults(days_later=1),
    ) as dag:
        raw = raw_asset(dataset)
        check = SourceCheckOperator(dataset=dataset.name, pool=SOURCE, inlets=[source_asset(dataset), raw])

        @task_group
        def reload(period: str | None) -> None:
            label = "{{ task.period or task.dataset }}"
            download = StageOperator(
                dataset=dataset.name,
                stage="download",
                period=period,
                map_index_template=label,
                pool=DOWNLOAD,
                outlets=[raw],
            )
            if dataset.tabular:
                download >> StageOperator(
                    dataset=dataset.name,
                    stage="conform",
                    period=period,
                    map_index_template=label,
                    pool=CONFORM,
                    outlets=[typed_asset(dataset)],
                )

        reload.expand(period=check.output)
    return dag


for entry in DATASETS.values():
    globals()[dag_id(entry.name, "source_check")] = build(entry)
