"""What OpenLineage is told of a task: its assets under the names that other tools give them, and counts."""

from __future__ import annotations

import json

import pytest

from elt.catalogue.registry import DATASETS
from elt.orchestration.assets import (
    address,
    lineage,
    postgres_asset,
    raw_asset,
    source_asset,
    table_asset,
    typed_asset,
)
from elt.orchestration.connections import AirflowConnections
from elt.settings import Settings

YELLOW = DATASETS["yellow"]
CONNECTIONS = AirflowConnections(Settings(bucket="bucket", dataset="dataset", location="EU"))


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    google = {"conn_type": "google_cloud_platform", "extra": {"project": "project", "is_anonymous": True}}
    source = {"conn_type": "http", "host": "https://publisher.example/base", "login": "u", "password": "p"}
    postgres = {"conn_type": "postgres", "host": "127.0.0.1", "port": 5433, "login": "u", "password": "p"}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(google))
    monkeypatch.setenv("AIRFLOW_CONN_TAXI_SOURCE", json.dumps(source))
    monkeypatch.setenv("AIRFLOW_CONN_TAXI_POSTGRES", json.dumps(postgres))


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
@pytest.mark.filterwarnings("ignore")
def test_an_asset_has_the_name_of_its_kind_of_store(asset, expected):
    assert address(asset.uri, CONNECTIONS) == expected


def test_a_task_tells_what_it_read_and_made_and_how_much():
    found = lineage([raw_asset(YELLOW)], [typed_asset(YELLOW)], {"rows": 98, "bytes": 7}, CONNECTIONS)
    assert [(d.namespace, d.name) for d in found.inputs] == [("gs://bucket", "raw/yellow")]
    assert [(d.namespace, d.name) for d in found.outputs] == [("gs://bucket", "typed/yellow")]
    assert found.outputs[0].outputFacets["outputStatistics"].rowCount == 98
