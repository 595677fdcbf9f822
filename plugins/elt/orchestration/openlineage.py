"""What a task reads and makes, in OpenLineage's names; asked for only where lineage is on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from elt.catalogue.registry import dataset
from elt.settings import Settings

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


def lineage(
    inlets: Iterable[Any], outlets: Iterable[Any], done: Mapping[str, Any]
) -> OperatorLineage[Any, Any]:
    """Lineage of a task from its assets; `done` is what its verb returned, with counts."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    settings = Settings.from_environment()
    counts = statistics.OutputStatisticsOutputDatasetFacet(rowCount=done.get("rows"), size=done.get("bytes"))
    return OperatorLineage(
        inputs=[InputDataset(*address(asset.uri, settings)) for asset in inlets],
        outputs=[
            OutputDataset(*address(asset.uri, settings), outputFacets={"outputStatistics": counts})
            for asset in outlets
        ],
    )


def address(uri: str, settings: Settings) -> tuple[str, str]:
    """Namespace and name of an asset, as OpenLineage writes them for its kind of store."""
    kind, _, rest = uri.partition("://")
    if kind == "x-lake":
        return f"gs://{settings.bucket}", rest
    if kind == "x-warehouse":
        return "bigquery", f"{settings.project}.{settings.dataset}.{rest}"
    if kind == "x-postgres":
        return _postgres(settings), f"public.{rest}"
    ds = dataset(rest)
    source = urlsplit(settings.source_url or (ds.source.base_url if ds.source else ds.path))
    return f"{source.scheme}://{source.netloc}", rest


def _postgres(settings: Settings) -> str:
    """The server, without user and password."""
    from psycopg.conninfo import conninfo_to_dict

    found = conninfo_to_dict(settings.postgres_dsn or "")
    return f"postgres://{found.get('host') or found.get('service')}:{found.get('port', 5432)}"
