"""Airflow's own Google operators in a user's DAGs follow the connection and the emulators, unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slow_bigquery
from slow_bigquery import SlowBigQuery

from taxiway.environment.secrets import emulator_credentials

# What the two patches change, as the libraries have it themselves.
ENDPOINTS = """
from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from gcloud.aio.bigquery.bigquery import init_api_root
api = BigQueryHook(use_legacy_sql=False).get_conn().cursor().service._baseUrl
print(json.dumps({"api": api, "aio": init_api_root(None)[1]}))
"""
# Operators as a user's DAG has them.
OPERATORS = """
import asyncio
from airflow.providers.google.cloud.operators.bigquery import BigQueryCheckOperator
from airflow.providers.google.cloud.triggers.bigquery import BigQueryCheckTrigger
BigQueryCheckOperator(task_id="check", sql="SELECT 1", use_legacy_sql=False, location="US").execute({})

async def first():
    trigger = BigQueryCheckTrigger("google_cloud_default", "job", "p", "US", poll_interval=0.1)
    return await anext(aiter(trigger.run()))

print(json.dumps(asyncio.run(first()).payload))
"""


@pytest.fixture
def bigquery() -> Iterator[SlowBigQuery]:
    with slow_bigquery.running() as server:
        server.answer("SELECT 1", [("one", "INTEGER")], ["1"])
        server.jobs["job"] = slow_bigquery.Job("job", "p", {"query": {"query": "SELECT 1"}}, "US", 0.0)
        yield server


def run(server: SlowBigQuery, code: str, **extra: Any) -> list[Any]:
    """What a process with the emulators' variables prints, line by line."""
    extra = {"project": "p", **(extra or {"is_anonymous": True})}
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    environment = {
        **os.environ,
        "BIGQUERY_EMULATOR_HOST": server.url,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-c", f"import json\n{code}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_check_operators_ask_the_emulator_deferred_or_not(bigquery: SlowBigQuery) -> None:
    endpoints, event = run(bigquery, ENDPOINTS + OPERATORS)
    assert endpoints == {"api": f"{bigquery.url}/bigquery/v2/", "aio": f"{bigquery.url}/bigquery/v2"}
    assert event["status"] == "success"
    assert event["records"] == [1]


def test_check_operators_carry_the_emulators_token_deferred_or_not(
    bigquery: SlowBigQuery, tmp_path: Path
) -> None:
    file = tmp_path / "credentials.json"
    file.write_text(emulator_credentials("of-ours"))
    (event,) = run(bigquery, OPERATORS, credential_config_file=str(file))
    assert event["status"] == "success"
    assert bigquery.authorizations == {"Bearer of-ours"}


def test_both_patches_are_still_needed(bigquery: SlowBigQuery) -> None:
    """Where this fails, a library follows BIGQUERY_EMULATOR_HOST by itself: its patch can go."""
    # Airflow is set up before the variable is there, so the patches are not made.
    without = (
        "import os\nhost = os.environ.pop('BIGQUERY_EMULATOR_HOST')\n"
        "import airflow.settings\nos.environ['BIGQUERY_EMULATOR_HOST'] = host\n"
    )
    (endpoints,) = run(bigquery, without + ENDPOINTS)
    assert "googleapis.com" in endpoints["api"]
    assert endpoints["aio"].startswith("http://http://")
