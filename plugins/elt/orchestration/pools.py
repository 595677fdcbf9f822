"""Airflow pools: how much happens at once in all workers together, and on which Celery queue.

Whoever starts the platform creates them first: a task that names a pool that does not exist waits for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS

DEFAULT_QUEUE, DOWNLOAD_QUEUE, LOAD_QUEUE = "default", "download", "load"


@dataclass(frozen=True)
class Pool:
    """`queue` says which Celery workers take its tasks; LocalExecutor has no queues.

    `include_deferred`: a task keeps its slot while it waits for its BigQuery job. Where one slot means "one
    after the other", a job that runs on BigQuery must count.
    """

    slots: int
    description: str
    queue: str = LOAD_QUEUE
    include_deferred: bool = False


SOURCE, DOWNLOAD, CONFORM, POSTGRES, MART = "source", "download", "conform", "postgres", "mart"


def publish_pool(dataset: Dataset) -> str:
    """Name of the pool of a dataset's publications: one slot for each table of the warehouse."""
    return f"publish_{dataset.name}"


def _publishing(what: str) -> Pool:
    # BigQuery aborts the later one of two transactions that change one table.
    return Pool(1, what, include_deferred=True)


POOLS: Mapping[str, Pool] = MappingProxyType(
    {
        SOURCE: Pool(2, "Requests for all files of a dataset at its publisher", DEFAULT_QUEUE),
        DOWNLOAD: Pool(4, "Transfers from publishers into the lake", DOWNLOAD_QUEUE),
        CONFORM: Pool(2, "Conversions to typed Parquet: processor and memory"),
        POSTGRES: Pool(2, "COPY into Postgres"),
        # All datasets feed the same tables.
        MART: _publishing("Rebuilds of marts, one after the other"),
        **{
            publish_pool(dataset): _publishing(f"Publications to {dataset.table}, one after the other")
            for dataset in DATASETS.values()
            if dataset.tabular
        },
    }
)


def queue_of(pool: str) -> str:
    """The queue of a pool's tasks."""
    # Tasks without a pool only wait or call services: any worker can run them.
    if pool == "default_pool":
        return DEFAULT_QUEUE
    return POOLS[pool].queue if pool in POOLS else LOAD_QUEUE
