"""Stages of which the BigQuery job runs longer than a worker waits, on a real Airflow with LocalExecutor."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from local_airflow import until
from slow_bigquery import service_account_key

from .conftest import GOOGLE, PARALLELISM, Platform

pytestmark = pytest.mark.long  # it starts an Airflow
JOBS = 6


@pytest.fixture(autouse=True)
def clean(platform: Platform) -> Iterator[None]:
    """Each test begins and ends without a running job."""
    platform.bigquery.seconds = lambda _: None
    yield
    platform.bigquery.finish()


def test_no_worker_waits_for_the_first_task(platform: Platform) -> None:
    assert platform.airflow.workers() == []


def test_without_a_schedule_start_an_unpaused_dag_makes_no_run_of_its_own(platform: Platform) -> None:
    runs = platform.airflow.call("GET", "/dags/wait/dagRuns")
    assert runs["total_entries"] == 0


def test_without_a_schedule_start_months_can_still_be_backfilled(platform: Platform) -> None:
    platform.bigquery.seconds = lambda _: 0.0
    day = "2024-07-{}T00:00:00Z"
    body = {"dag_id": "publish", "from_date": day.format("01"), "to_date": day.format("31")}
    platform.airflow.call("POST", "/backfills", json=body)

    def backfilled() -> dict[str, str]:
        runs = platform.airflow.call("GET", "/dags/publish/dagRuns")["dag_runs"]
        return {run["partition_key"]: run["state"] for run in runs if run["run_type"] == "backfill"}

    until(lambda: backfilled() == {"2024-07": "success"}, what="the backfilled month")


def test_running_jobs_hold_no_worker(platform: Platform) -> None:
    airflow, bigquery = platform.airflow, platform.bigquery
    assert JOBS > PARALLELISM
    run = airflow.trigger("publish_6")
    until(lambda: len(bigquery.running()) == JOBS, what="every job at once")
    until(
        lambda: {task["state"] for task in airflow.tasks("publish_6", run)} == {"deferred"},
        what="every task deferred",
    )
    pool = airflow.call("GET", "/pools/default_pool")
    assert (pool["occupied_slots"], pool["deferred_slots"]) == (0, JOBS)
    until(lambda: not airflow.task_processes(), what="every worker idle")
    # The workers are free for others.
    bigquery.seconds = lambda _: 0.0
    assert airflow.end_of("publish", airflow.trigger("publish", "2024-01")) == "success"
    assert len(bigquery.running()) == JOBS
    bigquery.finish()
    assert airflow.end_of("publish_6", run) == "success"
    tasks = airflow.tasks("publish_6", run)
    assert {task["try_number"] for task in tasks} == {1}
    assert len([job for job in bigquery.jobs.values() if "2010" in job.id]) == JOBS, "each job once"


def test_publications_of_one_table_follow_each_other_while_their_jobs_run(platform: Platform) -> None:
    airflow, bigquery = platform.airflow, platform.bigquery
    runs = [airflow.trigger("serial", f"2024-0{n}") for n in (1, 2)]
    for _ in runs:
        (job,) = until(bigquery.running, what="the next job")
        # Deferred, it still holds the pool's only slot.
        until(
            lambda: airflow.call("GET", "/pools/publish_yellow")["deferred_slots"] == 1, what="the slot taken"
        )
        assert bigquery.running() == [job]
        bigquery.finish(job.id)
    assert {airflow.end_of("serial", run) for run in runs} == {"success"}


def test_the_task_links_to_its_job_while_it_runs_and_afterwards(platform: Platform) -> None:
    airflow, bigquery = platform.airflow, platform.bigquery
    run = airflow.trigger("publish", "2024-02")
    airflow.until_state("publish", run, "publish", "deferred")
    job = platform.job_of(run)
    link = "https://console.cloud.google.com/bigquery?project=p&ws=!1m5!1m4!1m3!1sp!2s" + job.id + "!3sUS"
    path = f"/dags/publish/dagRuns/{run}/taskInstances/publish/links"
    assert airflow.call("GET", path)["extra_links"] == {"BigQuery Job Detail": link}
    bigquery.finish(job.id)
    assert airflow.end_of("publish", run) == "success"
    assert airflow.call("GET", path)["extra_links"] == {"BigQuery Job Detail": link}


def test_a_job_that_was_cancelled_in_googles_console_fails_its_task_with_the_reason(
    platform: Platform,
) -> None:
    airflow, bigquery, alerts = platform.airflow, platform.bigquery, platform.alerts
    run = airflow.trigger("publish", "2024-03")
    airflow.until_state("publish", run, "publish", "deferred")
    bigquery.cancel(platform.job_of(run).id)
    assert airflow.end_of("publish", run) == "failed"
    assert airflow.task("publish", run, "publish")["try_number"] == 1, "permanent: no retry"
    assert "User requested cancellation" in airflow.error_of("publish", run, "publish", 1)
    assert len([job for job in bigquery.jobs.values() if job.id == platform.job_of(run).id]) == 1
    (text,) = until(lambda: [text for text in alerts.texts() if "2024-03" in text], what="the alert")
    assert "User requested cancellation" in text


def test_a_month_that_is_published_while_it_is_waited_for_goes_on(platform: Platform) -> None:
    airflow, source = platform.airflow, platform.source
    run = airflow.trigger("wait", "2024-01", {"publication_timeout": 600})
    airflow.until_state("wait", run, "wait_until_published", "deferred")
    until(lambda: not airflow.task_processes(), what="every worker idle")
    source.serve("/trip-data/yellow_tripdata_2024-01.parquet", b"PAR1 and more PAR1")
    assert airflow.end_of("wait", run) == "success"


def test_a_month_that_is_not_published_in_time_is_skipped_and_reported(platform: Platform) -> None:
    airflow, alerts = platform.airflow, platform.alerts
    run = airflow.trigger("wait", "2024-02", {"publication_timeout": 1})
    assert airflow.until_state("wait", run, "wait_until_published", "skipped", "failed", "success")[
        "state"
    ] == ("skipped")
    (text,) = until(lambda: [text for text in alerts.texts() if "2024-02" in text], what="the alert")
    assert "not published yet" in text


def test_a_changed_airflow_connection_changes_where_and_as_whom_tasks_work(platform: Platform) -> None:
    airflow, bigquery = platform.airflow, platform.bigquery
    bigquery.seconds = lambda _: 0.0
    first = airflow.trigger("publish", "2024-04")
    assert airflow.end_of("publish", first) == "success"
    assert platform.job_of(first).project == "p"
    assert bigquery.authorizations == {None}
    key = service_account_key("somebody@else.example", bigquery.url)
    airflow.set_connection(
        "google_cloud_default",
        conn_type="google_cloud_platform",
        extra={"project": "another", "keyfile_dict": json.dumps(key)},
    )
    try:
        second = airflow.trigger("publish", "2024-05")
        assert airflow.end_of("publish", second) == "success"
    finally:
        airflow.set_connection("google_cloud_default", **GOOGLE)
    assert platform.job_of(second).project == "another"
    assert bigquery.authorizations == {None, "Bearer token-of-somebody@else.example"}
