"""Whatever is killed while a stage's BigQuery job runs: the job runs once, and the run ends as it should.

Minutes, mostly of waiting until Airflow notices: they run with --all.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_airflow import until

from .conftest import Platform

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def clean(platform: Platform) -> Iterator[None]:
    """Each test begins and ends without a running job, and nobody hears of what is retried."""
    platform.alerts.messages.clear()
    yield
    platform.bigquery.finish()


def submitted(platform: Platform, dag_id: str, month: str) -> str:
    """Start a run and wait until its job runs; returns the run's id."""
    run = platform.airflow.trigger(dag_id, month)
    until(platform.bigquery.running, what="a running job")
    return run


def until_next_try(platform: Platform, dag_id: str, run: str) -> None:
    """Wait until Airflow has noticed that a task's first try is over."""
    until(lambda: platform.airflow.task(dag_id, run, "publish")["try_number"] > 1, what="the next try")


def ends_well_with_one_job(platform: Platform, dag_id: str, run: str) -> int:
    """Finish the job and see the run succeed without an alert; returns the number of the last try."""
    job = platform.job_of(run)
    assert not job.done, "somebody has cancelled it"
    platform.bigquery.finish(job.id)
    assert platform.airflow.end_of(dag_id, run) == "success"
    assert platform.job_of(run) is job, "it ran once"
    assert not platform.alerts.messages
    return int(platform.airflow.task(dag_id, run, "publish")["try_number"])


def test_a_worker_that_is_killed_before_it_has_deferred(platform: Platform) -> None:
    run = submitted(platform, "patient", "2024-01")
    # The task's process and the LocalExecutor's worker that supervises it.
    (task,) = platform.airflow.task_processes()
    supervisor = task.parent()
    task.kill()
    supervisor.kill()
    until_next_try(platform, "patient", run)
    assert ends_well_with_one_job(platform, "patient", run) == 2


def test_a_task_whose_process_alone_is_killed(platform: Platform) -> None:
    run = submitted(platform, "patient", "2024-02")
    (task,) = platform.airflow.task_processes()
    task.kill()
    until_next_try(platform, "patient", run)
    assert ends_well_with_one_job(platform, "patient", run) == 2


def test_a_scheduler_and_all_its_workers_that_are_killed_after_the_task_has_deferred(
    platform: Platform,
) -> None:
    run = submitted(platform, "publish", "2024-03")
    platform.airflow.until_state("publish", run, "publish", "deferred")
    platform.airflow.kill("scheduler")
    platform.airflow.start("scheduler")
    until(platform.airflow.is_healthy, what="a healthy Airflow")
    assert ends_well_with_one_job(platform, "publish", run) == 1


def test_a_triggerer_that_is_killed_while_it_waits_for_the_job(platform: Platform) -> None:
    run = submitted(platform, "publish", "2024-04")
    platform.airflow.until_state("publish", run, "publish", "deferred")
    polls = platform.job_of(run).polls
    until(lambda: platform.job_of(run).polls > polls, what="a look at the job")
    platform.airflow.kill("triggerer")
    platform.airflow.start("triggerer")
    polls = platform.job_of(run).polls
    until(lambda: platform.job_of(run).polls > polls, what="a look by the new triggerer")
    assert ends_well_with_one_job(platform, "publish", run) == 1


def test_the_job_of_a_task_that_a_user_marks_as_failed_is_cancelled(platform: Platform) -> None:
    run = submitted(platform, "publish", "2024-05")
    platform.airflow.until_state("publish", run, "publish", "deferred")
    job = platform.job_of(run)
    # The worker has polled before it left; before the trigger has begun, there is nobody to cancel the job.
    of_worker = job.polls
    until(lambda: job.polls > of_worker, what="a poll by the trigger")
    platform.airflow.mark("publish", run, "publish", "failed")
    until(lambda: job.error is not None, what="its cancellation")
    # The run has failed, which is told: before the next test begins, for which it is no news.
    until(lambda: platform.alerts.messages, what="the alert of the failed run")


def test_the_job_of_a_task_that_a_user_clears_goes_on_and_is_found_again(platform: Platform) -> None:
    run = submitted(platform, "publish", "2024-06")
    platform.airflow.until_state("publish", run, "publish", "deferred")
    platform.airflow.clear("publish", run, "publish")
    until_next_try(platform, "publish", run)
    platform.airflow.until_state("publish", run, "publish", "deferred")
    assert ends_well_with_one_job(platform, "publish", run) == 2
