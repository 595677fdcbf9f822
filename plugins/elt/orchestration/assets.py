"""Assets: what tasks read and write, by which DAGs follow each other, and their names in OpenLineage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import Asset, PartitionedAssetTimetable

from elt.catalogue import Dataset
from elt.catalogue.registry import dataset as entry
from elt.connection_fields import ConnectionFields
from elt.connections import POSTGRES

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from elt.orchestration.connections import AirflowConnections


def source_asset(dataset: Dataset) -> Asset:
    """The dataset's files at the publisher's."""
    return Asset(name=f"{dataset.name}_source", uri=f"x-source://{dataset.name}", group="source")


def raw_asset(dataset: Dataset) -> Asset:
    """The dataset's files in the lake, as published."""
    return Asset(name=f"{dataset.name}_raw", uri=f"x-lake://raw/{dataset.name}", group="lake")


def typed_asset(dataset: Dataset) -> Asset:
    """The dataset's Parquet in the lake, one schema for all periods."""
    return Asset(name=f"{dataset.name}_typed", uri=f"x-lake://typed/{dataset.name}", group="lake")


def table_asset(dataset: Dataset) -> Asset:
    """The dataset's table in the warehouse."""
    return Asset(name=f"{dataset.name}_table", uri=f"x-warehouse://{dataset.table}", group="warehouse")


def postgres_asset(dataset: Dataset) -> Asset:
    """The dataset's table in Postgres."""
    return Asset(name=f"{dataset.name}_postgres", uri=f"x-postgres://{dataset.table}", group="postgres")


def mart_asset(name: str) -> Asset:
    """A table that is computed from published partitions."""
    return Asset(name=name, uri=f"x-warehouse://{name}", group="marts")


def follows(dataset: Dataset, asset: Asset) -> PartitionedAssetTimetable | list[Asset]:
    """Schedule of a consumer: a run for each period of `asset` that changed, with the same partition key."""
    # A plain asset schedule would make one run of several events, and lose their periods.
    return PartitionedAssetTimetable(assets=asset) if dataset.every else [asset]


def lineage(
    inlets: Iterable[Any],
    outlets: Iterable[Any],
    result: Mapping[str, Any],
    connections: AirflowConnections,
) -> OperatorLineage[Any, Any]:
    """OpenLineage's description of a task: its assets, and the rows and bytes that its stage returned."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    counts = statistics.OutputStatisticsOutputDatasetFacet(
        rowCount=result.get("rows"), size=result.get("bytes")
    )
    facets: dict[str, Any] = {"outputStatistics": counts}
    return OperatorLineage(
        inputs=[InputDataset(*address(asset.uri, connections)) for asset in inlets],
        outputs=[OutputDataset(*address(asset.uri, connections), outputFacets=facets) for asset in outlets],
    )


def address(uri: str, connections: AirflowConnections) -> tuple[str, str]:
    """Namespace and name of an asset, as OpenLineage spells them for its kind of store."""
    kind, _, rest = uri.partition("://")
    if kind == "x-lake":
        return f"gs://{connections.settings.bucket}", rest
    if kind == "x-warehouse":
        return "bigquery", f"{connections.project}.{connections.settings.dataset}.{rest}"
    if kind == "x-postgres":
        from elt.orchestration.connections import find

        found = find(POSTGRES) or ConnectionFields()
        # A service file says more than the connection, and only libpq reads it.
        host = found.host or found.extra.get("service") or "localhost"
        return f"postgres://{host}:{found.port or 5432}", f"public.{rest}"
    source = urlsplit(connections.source(entry(rest)).base_url)
    return f"{source.scheme}://{source.netloc}", rest
