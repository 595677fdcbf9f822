"""Five hundred deferrals on a busy Airflow: none is lost. It takes many minutes and runs with --all."""

from __future__ import annotations

import random

import pytest
from local_airflow import until

from .conftest import Platform

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
DEFERRALS = 500


def test_five_hundred_deferrals_under_load_lose_none(platform: Platform) -> None:
    airflow, bigquery = platform.airflow, platform.bigquery
    # From just longer than a worker waits to much longer: jobs end while triggers start, and later.
    chosen = random.Random(13)
    bigquery.seconds = lambda _: chosen.uniform(1.5, 40.0)
    run = airflow.trigger(f"publish_{DEFERRALS}")
    assert airflow.end_of(f"publish_{DEFERRALS}", run, 3000) == "success"
    tasks = airflow.tasks(f"publish_{DEFERRALS}", run)
    assert len(tasks) == DEFERRALS
    assert {task["state"] for task in tasks} == {"success"}
    jobs = [job for job in bigquery.jobs.values() if job.labels.get("step") == "publish"]
    assert len(jobs) == DEFERRALS, "each job ran once"
    retried = [task for task in tasks if task["try_number"] > 1]
    mismatches = airflow.events("state mismatch")
    print(f"{DEFERRALS} deferrals: {len(mismatches)} state mismatches, {len(retried)} retried, none lost")  # noqa: T201
    assert not platform.alerts.messages
    until(lambda: not bigquery.running())
