"""A real Airflow, and the fake BigQuery, source and webhook that its tasks talk to; one for each module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import faulty_source
import local_airflow
import pytest
import receiver as webhook
import slow_bigquery
from faulty_source import FaultySource
from local_airflow import LocalAirflow
from receiver import Receiver
from slow_bigquery import Json, SlowBigQuery

DAGS = Path(__file__).parent / "airflow_dags"
PARALLELISM = 4
# What a staging table says of itself.
STAGED = {
    "checksum": "c", "schema_version": "v", "source_etag": None, "source": "https://example.com",
    "rows": 3, "quarantined": 0, "bytes": 10,
}  # fmt: skip

GOOGLE = {"conn_type": "google_cloud_platform", "extra": {"project": "p", "is_anonymous": True}}


@dataclass
class Platform:
    """Airflow and what it talks to."""

    airflow: LocalAirflow
    bigquery: SlowBigQuery
    source: FaultySource
    alerts: Receiver

    def job_of(self, run_id: str) -> slow_bigquery.Job:
        """The job of a run of `publish`."""
        from elt.layout import digest

        part = digest(f"d {run_id}")
        (job,) = [job for job in self.bigquery.jobs.values() if part in job.id]
        return job


def staging(table: str) -> Json | None:
    """A staging table is there whenever it is asked for, once."""
    return (
        {"description": json.dumps(STAGED), "schema": {"fields": []}}
        if table.startswith("staging_")
        else None
    )


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("airflow")
    with slow_bigquery.running() as bigquery, faulty_source.running() as source, webhook.running() as alerts:
        bigquery.invent = staging
        bigquery.seconds = lambda _: None
        variables = {
            "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
            "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "64",
            "AIRFLOW_CONN_TAXI_SOURCE": json.dumps({"conn_type": "http", "host": source.url}),
            "AIRFLOW_CONN_TAXI_ALERTS": json.dumps({"conn_type": "generic", "password": alerts.url}),
            "BIGQUERY_EMULATOR_HOST": bigquery.url,
            "STORAGE_EMULATOR_HOST": bigquery.url,
            "GCP_PROJECT_ID": "p",
            "GCP_GCS_BUCKET": "b",
            "BIGQUERY_DATASET": "d",
            "GCP_LOCATION": "US",
        }
        with local_airflow.running(folder, DAGS, variables) as airflow:
            airflow.create_pools()
            airflow.set_connection("google_cloud_default", **GOOGLE)
            airflow.open_dags("publish", "patient", "serial", "publish_6", "publish_500", "wait")
            yield Platform(airflow, bigquery, source, alerts)
