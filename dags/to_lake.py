"""`<dataset>_to_lake`: from the publisher into the lake, month by month."""

from airflow.sdk import DAG

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.orchestration.operators import MonthOperator
from elt.orchestration.pools import CONFORM, DOWNLOAD
from elt.orchestration.sensors import PublishedSensor
from elt.orchestration.wiring import common, lake_schedule, raw_asset, source_asset, typed_asset

DOC = """
### {title}: source → lake

1. **wait_until_published** looks whether the publisher has the file. A month that is not there yet is
   looked for again later (*up for reschedule*), and in the end *skipped*: late is not broken.
2. **download** stores the file under `raw/{name}/`, byte for byte, with its checksum and where it came from.
{conform}
{trigger}
Running it again changes nothing unless the publisher changed the file.
"""
CONFORMS = """\
3. **conform** writes the rows under `typed/{name}/` as Parquet in one schema for all years. A row that does
   not fit goes whole to `quarantine/{name}/` with the reason: typed + quarantined = published.
"""
MONTHLY = (
    "The month is the run's **partition key** (`2024-01`): trigger with one, or backfill by partition date."
)
ONCE = "The file has no months: one run loads it."


def build(dataset: Dataset) -> DAG:
    """The DAG of one dataset."""
    with DAG(
        f"{dataset.name}_to_lake",
        schedule=lake_schedule(dataset),
        doc_md=DOC.format(
            name=dataset.name,
            title=dataset.title,
            conform=CONFORMS.format(name=dataset.name) if dataset.tabular else "",
            trigger=MONTHLY if dataset.monthly else ONCE,
        ),
        tags=["lake", dataset.name],
        **common(),
    ) as dag:
        source, raw, typed = source_asset(dataset), raw_asset(dataset), typed_asset(dataset)
        published = PublishedSensor(task_id="wait_until_published", dataset=dataset.name)
        download = MonthOperator(
            dataset=dataset.name, verb="download", pool=DOWNLOAD, inlets=[source], outlets=[raw]
        )
        published >> download
        if dataset.tabular:
            download >> MonthOperator(
                dataset=dataset.name, verb="conform", pool=CONFORM, inlets=[raw], outlets=[typed]
            )
    return dag


for entry in DATASETS.values():
    globals()[f"{entry.name}_to_lake"] = build(entry)
