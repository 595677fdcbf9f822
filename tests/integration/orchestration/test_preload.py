"""What is imported before Airflow forks its workers works in the forks, and costs them nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import slow_bigquery
from repository import REPOSITORY

# A parent that has read airflow_local_settings, a worker forked by it, and a task forked by that.
FORKED = """
import airflow_local_settings, gc, json, os, sys, threading

def in_a_fork(work):
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.wait()
    os.close(writing)
    return json.loads(os.read(reading, 1 << 16))

def task():
    before = set(sys.modules)
    import numpy, pyarrow, pyarrow.compute
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
    from airflow.providers.google.cloud.hooks.gcs import GCSHook
    from airflow.providers.google.cloud.triggers.bigquery import BigQueryInsertJobTrigger
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    hook = BigQueryHook(use_legacy_sql=False)
    job = hook.get_client(project_id=hook.project_id).get_job("job", project="p", location="US")
    matrix = numpy.ones((300, 300))
    import grpc
    server = grpc.server(__import__("concurrent.futures").futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
    server.stop(None)
    return {
        "job": job.state,
        "product": float((matrix @ matrix).sum()),
        "sum": pyarrow.compute.sum(pyarrow.array(range(100_000))).as_py(),
        "bucket": GCSHook().get_conn().bucket("b").name,
        "postgres": PostgresHook.conn_type,
        "imported": sorted(
            m for m in set(sys.modules) - before if m.split(".")[0] in ("airflow", "google", "pandas")
        ),
    }

print(json.dumps({
    "python_threads": [thread.name for thread in threading.enumerate()],
    "threshold": gc.get_threshold()[0],
    "loaded": [name for name in ("pyarrow", "google.cloud.bigquery", "pandas") if name in sys.modules],
    "task": in_a_fork(lambda: in_a_fork(task)) if "tasks" in sys.argv else None,
}))
"""


def run(*arguments: str, **variables: str) -> dict[str, Any]:
    """What a process with these variables finds out."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "AIRFLOW_HOME", "AIRFLOW_CONFIG")}
    environment = {**kept, "PYTHONPATH": str(REPOSITORY / "plugins"), "PYTHONWARNINGS": "ignore", **variables}
    done = subprocess.run(
        [sys.executable, "-c", FORKED, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_task_forked_twice_does_all_that_stages_do_without_an_import() -> None:
    connection = {"conn_type": "google_cloud_platform", "extra": {"project": "p", "is_anonymous": True}}
    with slow_bigquery.running() as server:
        server.jobs["job"] = slow_bigquery.Job("job", "p", {"query": {}}, "US", 0.0)
        found = run(
            "tasks",
            TAXIWAY_PRELOAD="tasks",
            BIGQUERY_EMULATOR_HOST=server.url,
            STORAGE_EMULATOR_HOST=server.url,
            AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT=json.dumps(connection),
        )
    assert found["python_threads"] == ["MainThread"]
    assert found["task"] == {
        "job": "DONE",
        "product": 300.0**3,
        "sum": 100_000 * 99_999 // 2,
        "bucket": "b",
        "postgres": "postgres",
        "imported": [],
    }


def test_the_dag_processor_preloads_what_dags_need_and_no_more() -> None:
    found = run(TAXIWAY_PRELOAD="dags")
    assert found["loaded"] == []


@pytest.mark.parametrize("what", [{}, {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9"}])
def test_a_foreign_airflow_is_left_as_it_is(what: dict[str, str]) -> None:
    """As on Composer, which gets the whole folder: without TAXIWAY_ variables nothing is set or loaded."""
    found = run(**what)
    assert found["threshold"] == 700
    assert found["loaded"] == []
