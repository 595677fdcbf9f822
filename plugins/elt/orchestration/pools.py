"""Airflow pools: how much may happen at once. Whoever starts the platform creates them first.

A task that names a pool that does not exist waits for ever.
"""

from collections.abc import Mapping
from types import MappingProxyType

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS

SOURCE = "source"
DOWNLOAD = "download"
CONFORM = "conform"
POSTGRES = "postgres"
# One slot: all datasets feed the same tables, and BigQuery aborts concurrent transactions on one.
MART = "mart"


def publish_pool(dataset: Dataset) -> str:
    """Pool of one slot: BigQuery aborts concurrent transactions on one table."""
    return f"publish_{dataset.name}"


POOLS: Mapping[str, int] = MappingProxyType(
    {
        SOURCE: 2,
        DOWNLOAD: 4,
        CONFORM: 2,
        POSTGRES: 2,
        MART: 1,
        **{publish_pool(dataset): 1 for dataset in DATASETS.values() if dataset.tabular},
    }
)
