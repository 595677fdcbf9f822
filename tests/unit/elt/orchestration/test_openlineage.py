"""What OpenLineage hears of a task: its assets under the names that other tools give them, and counts."""

from __future__ import annotations

import pytest

from elt.catalogue.registry import DATASETS
from elt.orchestration.openlineage import address, lineage
from elt.orchestration.wiring import postgres_asset, raw_asset, source_asset, table_asset, typed_asset
from elt.settings import Settings

YELLOW = DATASETS["yellow"]
SETTINGS = Settings(
    project="project",
    bucket="bucket",
    dataset="dataset",
    location="EU",
    source_url="https://publisher.example/base",
    postgres_dsn="host=127.0.0.1 port=5433 dbname=taxi user=taxi password=of-nobody",
)


@pytest.mark.parametrize(
    ("asset", "expected"),
    [
        (source_asset(YELLOW), ("https://publisher.example", "yellow")),
        (raw_asset(YELLOW), ("gs://bucket", "raw/yellow")),
        (typed_asset(YELLOW), ("gs://bucket", "typed/yellow")),
        (table_asset(YELLOW), ("bigquery", "project.dataset.yellow_trips")),
        (postgres_asset(YELLOW), ("postgres://127.0.0.1:5433", "public.yellow_trips")),
    ],
)
def test_an_asset_has_the_name_of_its_kind_of_store(asset, expected):
    assert address(asset.uri, SETTINGS) == expected


def test_a_task_tells_what_it_read_and_made_and_how_much(monkeypatch):
    for name, value in (("GCP_PROJECT_ID", "p"), ("GCP_GCS_BUCKET", "b"), ("BIGQUERY_DATASET", "d")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GCP_LOCATION", "EU")
    found = lineage([raw_asset(YELLOW)], [typed_asset(YELLOW)], {"rows": 98, "bytes": 7})
    assert [(d.namespace, d.name) for d in found.inputs] == [("gs://b", "raw/yellow")]
    assert [(d.namespace, d.name) for d in found.outputs] == [("gs://b", "typed/yellow")]
    assert found.outputs[0].outputFacets["outputStatistics"].rowCount == 98
