"""`<dataset>_to_lake`: from the publisher into the lake, period by period."""

from airflow.sdk import DAG

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.layout import dag_id
from elt.orchestration.assets import raw_asset, source_asset, typed_asset
from elt.orchestration.dag_defaults import lake_defaults, lake_schedule, patience
from elt.orchestration.operators import PublishedSensor, StageOperator
from elt.orchestration.pools import CONFORM, DOWNLOAD

DOC = """
### {title}: source → lake

1. **wait_until_published** asks the publisher for the file. While it is not there yet the task is
   *deferred* and holds no worker; after {patience} days it is *skipped*, not failed.
2. **download** stores the file under `raw/{name}/`, byte for byte, with its checksum and where it came from.
{conform}
{trigger}
Running it again changes nothing unless the publisher changed the file.
"""
CONFORMS = """\
3. **conform** writes the rows under `typed/{name}/` as Parquet in one schema for all years. A row that does
   not fit goes whole to `quarantine/{name}/` with the reason: typed + quarantined = published.
"""
BY_PERIOD = (
    "The {every} is the run's **partition key** (`{first}`): trigger with one, or backfill by partition date."
)
ONCE = "The file is the whole of it: one run loads it."


def build(dataset: Dataset) -> DAG:
    """The DAG of one dataset."""
    with DAG(
        dag_id(dataset.name, "to_lake"),
        schedule=lake_schedule(dataset),
        doc_md=DOC.format(
            name=dataset.name,
            title=dataset.title,
            conform=CONFORMS.format(name=dataset.name) if dataset.tabular else "",
            patience=patience(dataset).days,
            trigger=BY_PERIOD.format(every=dataset.every, first=dataset.first) if dataset.every else ONCE,
        ),
        tags=["lake", dataset.name],
        **lake_defaults(dataset),
    ) as dag:
        raw, typed = raw_asset(dataset), typed_asset(dataset)
        published = PublishedSensor(task_id="wait_until_published", dataset=dataset.name)
        download = StageOperator(
            dataset=dataset.name,
            stage="download",
            pool=DOWNLOAD,
            inlets=[source_asset(dataset)],
            outlets=[raw],
        )
        published >> download
        if dataset.tabular:
            download >> StageOperator(
                dataset=dataset.name, stage="conform", pool=CONFORM, inlets=[raw], outlets=[typed]
            )
    return dag


for entry in DATASETS.values():
    globals()[dag_id(entry.name, "to_lake")] = build(entry)
