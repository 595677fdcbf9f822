"""The operators over a stack in memory: what they run, when they defer, and what they do afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import faulty_source as faulty
import in_a_task
import paged_api
import pytest
import taxi
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from fakes import FakeConnections, Stack
from faulty_source import Fault, FaultySource
from in_a_task import Event, context, execute, resume

from elt.catalogue import Api, Dataset, Month, registry
from elt.errors import (
    InvalidPeriodError,
    PermanentError,
    SettingError,
    TransientError,
    UnknownDatasetError,
    UsageError,
)
from elt.orchestration.assets import typed_asset
from elt.orchestration.operators import (
    JobLink,
    PublishedSensor,
    SourceCheckOperator,
    StageOperator,
    requested_timeout,
)
from elt.settings import Settings
from elt.sources.client import HttpSource, Patience

SETTINGS = {"GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "GCP_LOCATION": "EU"}
# BigQuery's answers until a job has ended: more than anybody waits for here.
LONG = 1000


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def faulty_source() -> Iterator[FaultySource]:
    with faulty.running() as source:
        yield source


class Over(StageOperator):
    """The operator over a stack in memory."""

    stack: Stack

    def connections(self, settings: Settings, context: Any) -> Any:
        self.stack.connections.patience = self.patience
        return self.stack.connections


def operator(stack: Stack, stage: str, **how: Any) -> Over:
    made = Over(**{"dataset": "yellow", "stage": stage, **how})
    made.stack = stack
    return made


def loaded_until(stack: Stack, *stages: str) -> None:
    stack.publisher.publish("yellow", "2024-01", taxi.parquet(taxi.trips("2024-01", 20)))
    for stage in stages:
        stack.run(stage, "yellow", "2024-01")


def deferred(operator: Over, in_context: dict[str, Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as found:
        execute(operator, in_context)
    return found.value


def test_a_stage_returns_its_counts_and_announces_them_with_the_month(stack: Stack) -> None:
    loaded_until(stack, "download")
    asset = typed_asset(stack.request("yellow", "2024-01").dataset)
    given = context()
    given["outlet_events"] = {asset: Event()}
    result = execute(operator(stack, "conform", outlets=[asset]), given)
    assert (result["rows"], result["period"]) == (20, "2024-01")
    assert given["outlet_events"][asset].extra == result
    assert given["outlet_events"][asset].partitions == ["2024-01"]


def test_a_month_of_its_own_comes_before_the_runs(stack: Stack) -> None:
    loaded_until(stack)
    result = execute(operator(stack, "download", period="2024-01"), context(month=None))
    assert result["period"] == "2024-01"


@pytest.mark.parametrize(
    ("how", "month", "error"),
    [
        ({"dataset": "yelow"}, "2024-01", UnknownDatasetError),
        ({}, None, InvalidPeriodError),
        ({}, "1999-01", InvalidPeriodError),
        ({"period": "January"}, None, InvalidPeriodError),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(
    stack: Stack, how: dict[str, Any], month: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        execute(operator(stack, "download", **how), context(month=month))


def test_a_job_that_outlasts_the_workers_patience_is_awaited_by_the_triggerer(stack: Stack) -> None:
    loaded_until(stack, "download", "conform", "stage", "audit")
    stack.bigquery.polls = LONG
    wait = deferred(operator(stack, "publish", poll_interval=7.0), context())
    (job_id,) = [job_id for job_id in stack.bigquery.jobs if "publish" in job_id]
    _, arguments = wait.trigger.serialize()
    expected = {"conn_id": "google_cloud_default", "job_id": job_id, "project_id": "p", "location": "EU"}
    assert arguments.items() >= {**expected, "poll_interval": 7.0}.items()
    assert wait.timeout.total_seconds() > stack.connections.settings.job_seconds
    assert 9 < stack.connections.clock.now < 15, "about ten seconds on the worker"


def test_afterwards_the_stage_finds_its_job_and_goes_on(stack: Stack) -> None:
    loaded_until(stack, "download", "conform", "stage", "audit")
    stack.bigquery.polls = LONG
    wait = deferred(operator(stack, "publish"), context())
    finish(stack)
    result = resume(operator(stack, "publish"), wait, {"status": "success"}, context())
    assert (result["rows"], result["reused"]) == (20, False)
    assert len([job_id for job_id in stack.bigquery.jobs if "publish" in job_id]) == 1
    assert stack.bigquery.sql("SELECT count(*) FROM d.yellow_trips") == [(20,)]


@pytest.mark.parametrize("stage", ["stage", "mart"])
def test_a_forced_stage_finds_its_job_too_instead_of_beginning_again(stack: Stack, stage: str) -> None:
    """Its job is of the instant at which the task began: that survives the deferral."""
    loaded_until(
        stack, "download", "conform", *(("stage", "audit", "publish", "mart") if stage == "mart" else ())
    )
    before = set(stack.bigquery.jobs)
    stack.bigquery.polls = LONG
    wait = deferred(operator(stack, stage), context(force=True))
    finish(stack)
    assert not resume(operator(stack, stage), wait, {"status": "success"}, context(force=True))["reused"]
    assert len([job_id for job_id in set(stack.bigquery.jobs) - before if f"-{stage}-" in job_id]) == 1


def test_a_job_that_failed_while_it_was_awaited_fails_the_task_with_bigquerys_reason(stack: Stack) -> None:
    loaded_until(stack, "download", "conform", "stage", "audit")
    stack.bigquery.polls = LONG
    stack.bigquery.outcomes = [{"reason": "stopped", "message": "User requested cancellation"}]
    wait = deferred(operator(stack, "publish"), context())
    finish(stack)
    with pytest.raises(PermanentError, match="User requested cancellation"):
        resume(operator(stack, "publish"), wait, {"status": "error", "message": "x"}, context())


def test_a_trigger_that_could_not_ask_is_no_failed_job(stack: Stack) -> None:
    loaded_until(stack, "download", "conform", "stage", "audit")
    stack.bigquery.polls = LONG
    wait = deferred(operator(stack, "publish"), context())
    with pytest.raises(TaskDeferred):
        resume(operator(stack, "publish"), wait, {"status": "error", "message": "no answer"}, context())


@pytest.mark.parametrize("error", ["Trigger timeout", "Trigger failure"])
def test_a_trigger_that_never_fired_costs_a_retry(stack: Stack, error: str) -> None:
    made = operator(stack, "publish")
    with pytest.raises(TransientError, match=error):
        in_a_task.call(made, made.resume_execution, "__fail__", {"error": error}, context())


def test_the_link_has_the_providers_name_key_and_address() -> None:
    from airflow.providers.google.cloud.links.bigquery import BigQueryJobDetailLink as Theirs

    assert (JobLink.name, JobLink.xcom_key) == (Theirs.name, Theirs.key)
    given = context()
    JobLink.keep(given, "p", "EU", "job")
    expected = Theirs()._format_link(project_id="p", location="EU", job_id="job")
    assert given["ti"].pushed == {"bigquery_job_detail": expected}
    assert expected.startswith("https://console.cloud.google.com/bigquery?project=p&")


def test_only_stages_with_a_job_have_the_link(stack: Stack) -> None:
    linked = {
        stage
        for stage in ("download", "conform", "stage", "audit", "publish", "mart", "postgres")
        if StageOperator(dataset="yellow", stage=stage).operator_extra_links
    }
    assert linked == {"stage", "audit", "publish", "mart"}


def test_a_missing_connection_is_a_sentence_with_its_remedy() -> None:
    with pytest.raises(SettingError, match=r"no Airflow connection google_cloud_default\. Set AIRFLOW_CONN_"):
        execute(StageOperator(dataset="yellow", stage="publish"), context())


# The check of a source


class CheckOver(SourceCheckOperator):
    """The operator over a stack in memory."""

    stack: Stack

    def connections(self, settings: Settings) -> Any:
        return self.stack.connections


def check(stack: Stack, dataset: str = "yellow") -> Any:
    made = CheckOver(dataset=dataset)
    made.stack = stack
    return execute(made, context(month=None))


def test_a_check_returns_what_has_changed_since_it_was_loaded(stack: Stack) -> None:
    for month in ("2024-01", "2024-02"):
        stack.publisher.publish("yellow", month, taxi.parquet(taxi.trips(month, 20)))
        stack.run("download", "yellow", month)
    assert check(stack) == []
    stack.publisher.publish("yellow", "2024-02", taxi.parquet(taxi.trips("2024-02", 30)))
    assert check(stack) == ["2024-02"]


def test_a_changed_dataset_without_months_is_none(stack: Stack) -> None:
    stack.publisher.publish("zones", None, taxi.ZONES_CSV)
    stack.run("download", "zones", None)
    stack.publisher.publish("zones", None, taxi.ZONES_CSV + b'3,"Bronx","Allerton","Boro Zone"\n')
    assert check(stack, "zones") == [None]


def test_without_a_schedule_start_only_what_is_loaded_is_asked_for(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Composer: every month there is would be fetched, staged and paid for."""
    monkeypatch.delenv("TAXI_SCHEDULE_START", raising=False)
    for month in ("2023-05", "2023-06", "2024-01"):
        stack.publisher.publish("yellow", month, taxi.parquet(taxi.trips(month, 20)))
    assert check(stack) == []
    assert stack.publisher.requests == []


def test_with_a_schedule_start_a_month_that_was_late_is_found(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_SCHEDULE_START", "2025-01-01")
    stack.publisher.publish("yellow", "2025-03", taxi.parquet(taxi.trips("2025-03", 20)))
    assert check(stack) == ["2025-03"]


def test_a_schedule_older_than_its_dataset_asks_for_no_month_before_the_first(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_SCHEDULE_START", "2015-01-01")
    first = stack.request("fhvhv", "2024-01").dataset.first
    assert first is not None
    assert check(stack, "fhvhv") == []
    assert min(partition.period for _, partition in stack.publisher.requests) == first


def test_redirects_in_a_circle_a_page_or_a_foreign_object_keep_no_other_month_from_its_check(
    stack: Stack, faulty_source: FaultySource
) -> None:
    stack.connections = OverHttp(**vars(stack.connections), url=faulty_source.url)
    months = ("2024-01", "2024-02", "2024-03")
    for month in months:
        faulty_source.serve(taxi.YELLOW.format(month), taxi.parquet(taxi.trips(month, 20)))
        stack.run("download", "yellow", month)
    circle, changed, page = (taxi.YELLOW.format(month) for month in months)
    faulty_source.answers[circle] = [Fault(302, b"", location=circle)]
    faulty_source.serve(changed, taxi.parquet(taxi.trips("2024-02", 30)))
    faulty_source.serve_html(page)
    foreign = replace(
        stack.objects()["raw/yellow/yellow_tripdata_2024-01.parquet"], metadata={"month": "soon"}
    )
    stack.objects()["raw/yellow/somebody's"] = foreign
    assert check(stack) == ["2024-02"]


@dataclass
class OverHttp(FakeConnections):
    """With a publisher that is really asked."""

    url: str = ""

    def source(self, dataset: Dataset) -> Any:
        return HttpSource(dataset, self.url, patience=Patience((), 0.0))


def finish(stack: Stack) -> None:
    """Let BigQuery end what runs."""
    stack.bigquery.polls = 0
    for job in stack.bigquery.jobs.values():
        job["polls"] = 0


@pytest.mark.parametrize("value", ["nan", "abc", -1, float("inf"), [], 1e12])
def test_a_wait_that_would_never_end_is_refused(value):
    with pytest.raises(UsageError, match=r"publication_timeout=.* is no number of seconds"):
        requested_timeout({"dag_run": SimpleNamespace(conf={"publication_timeout": value})})


@pytest.mark.parametrize(
    ("conf", "seconds"), [(None, None), ({}, None), ({"publication_timeout": "60"}, 60.0)]
)
def test_a_run_may_say_how_long_it_waits(conf, seconds):
    assert requested_timeout({"dag_run": SimpleNamespace(conf=conf)}) == seconds


@pytest.fixture
def rides(monkeypatch) -> Iterator[paged_api.PagedApi]:
    """An API without records, and an entry that reads it."""
    with paged_api.running() as api:
        source = Api("rides_api", api.url, "data.items", {"from": "{start}"})
        entry = Dataset("rides", "Rides", "/rides", first=Month(2024, 1), source=source)
        monkeypatch.setitem(registry.DATASETS, "rides", entry)
        yield api


def test_rows_that_are_not_there_yet_are_asked_for_again_until_they_are(rides):
    sensor = PublishedSensor(task_id="wait", dataset="rides")
    run = context("2024-01")
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor, run)
    # The triggerer waits for a moment, and needs to know nothing of the API.
    assert type(deferred.value.trigger).__name__ == "DateTimeTrigger"
    rides.answers["/rides"] = [paged_api.Answer(status=500)] * 4
    with pytest.raises(TaskDeferred) as again:
        resume(sensor, deferred.value, {}, run)
    assert again.value.kwargs == deferred.value.kwargs
    rides.answers.clear()
    rides.records = ['{"id": 1}']
    assert resume(sensor, again.value, {}, run) is None


def test_files_that_are_not_complete_are_waited_for_by_their_marker(monkeypatch, tmp_path):
    path = f"file://{tmp_path}/{{year}}-{{month}}-*.bin"
    entry = Dataset("rides", "Rides", path, first=Month(2024, 1), marker="{year}-{month}.done")
    monkeypatch.setitem(registry.DATASETS, "rides", entry)
    (tmp_path / "2024-01-a.bin").touch()
    sensor = PublishedSensor(task_id="wait", dataset="rides")
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor, context("2024-01"))
    assert deferred.value.trigger.arguments["url"] == f"file://{tmp_path}/2024-01.done"
    (tmp_path / "2024-01.done").touch()
    assert execute(sensor, context("2024-01")) is None


def test_rows_that_never_come_are_skipped_after_the_time_that_the_run_gives(rides):
    sensor = PublishedSensor(task_id="wait", dataset="rides")
    run = context("2024-01", publication_timeout=0)
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor, run)
    with pytest.raises(AirflowSkipException, match="rides 2024-01 is not published yet"):
        resume(sensor, deferred.value, {}, run)


def test_an_api_that_refuses_the_login_fails_the_wait(rides):
    rides.token = "another"
    with pytest.raises(PermanentError, match="wants another login"):
        execute(PublishedSensor(task_id="wait", dataset="rides"), context("2024-01"))
