"""Airflow's own Google operators follow the connection and the emulators, unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from repository import REPOSITORY

pytestmark = pytest.mark.emulators


def run_with_provider(emulators: Any, code: str) -> str:
    """Run `code` in a process that has read airflow_local_settings as Airflow's processes do."""
    connection = {
        "conn_type": "google_cloud_platform",
        "extra": {"project": emulators.project, "is_anonymous": True},
    }
    environment = {
        **os.environ,
        **emulators.environment(),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "PYTHONPATH": str(REPOSITORY / "plugins"),
        "PYTHONWARNINGS": "ignore",
    }
    settled = f"import airflow_local_settings\n{code}"
    done = subprocess.run([sys.executable, "-c", settled], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_check_operator_asks_the_emulator(emulators: Any) -> None:
    code = """
from airflow.providers.google.cloud.operators.bigquery import BigQueryCheckOperator
operator = BigQueryCheckOperator(task_id="check", sql="SELECT 1", use_legacy_sql=False, location="US")
operator.execute({})
print("checked")
"""
    assert "checked" in run_with_provider(emulators, code)


def test_the_deferrable_triggers_client_asks_the_emulator(emulators: Any) -> None:
    code = """
import asyncio
from gcloud.aio.bigquery import Job

async def root():
    job = Job(job_id="1", project="p")
    await job.close()
    return job._api_root

print(asyncio.run(root()))
"""
    assert run_with_provider(emulators, code).strip() == f"{emulators.bigquery_url}/bigquery/v2"


def test_the_storage_hook_writes_and_reads_an_object(emulators: Any) -> None:
    code = """
from airflow.providers.google.cloud.hooks.gcs import GCSHook
hook = GCSHook()
hook.get_conn().create_bucket("provider-bucket")
hook.upload("provider-bucket", "a/b.txt", data=b"as sent")
print(hook.download("provider-bucket", "a/b.txt").decode())
"""
    assert "as sent" in run_with_provider(emulators, code)
