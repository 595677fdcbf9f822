"""What the triggerer waits for: when it fires, what it says, and when it cancels a job."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import faulty_source
import pytest
import slow_bigquery
import virtual_time
from airflow.triggers.base import TriggerEvent
from faulty_source import FaultySource
from slow_bigquery import Job, SlowBigQuery

from elt.orchestration.triggers import SETTLE, JobTrigger, PublicationTrigger

pytestmark = pytest.mark.filterwarnings("ignore")  # the provider's own deprecations


@pytest.fixture
def bigquery(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowBigQuery]:
    connection = {"conn_type": "google_cloud_platform", "extra": {"project": "p", "is_anonymous": True}}
    with slow_bigquery.running() as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
        server.jobs["job"] = Job("job", "p", {"query": {}}, "US", None)
        yield server


@pytest.fixture
def source() -> Iterator[FaultySource]:
    with faulty_source.running() as source:
        yield source


class JobTriggerOf(JobTrigger):
    """Of a task in a given state."""

    state: str | None = "deferred"

    def task_state(self) -> str | None:
        return self.state


def job_trigger(interval: float = 10.0) -> JobTriggerOf:
    return JobTriggerOf(
        conn_id="google_cloud_default", job_id="job", project_id="p", location="US", poll_interval=interval
    )


def fire(trigger: JobTrigger | PublicationTrigger) -> tuple[dict[str, str], float]:
    """The first event's payload, and after how many seconds it came."""

    async def first() -> TriggerEvent:
        return await anext(aiter(trigger.run()))

    event, seconds = virtual_time.run(first())
    return event.payload, seconds


def test_a_job_trigger_never_fires_in_its_first_seconds(bigquery: SlowBigQuery) -> None:
    bigquery.finish("job")
    event, seconds = fire(job_trigger(interval=1.0))
    assert event["status"] == "success"
    assert seconds >= SETTLE >= 5


def test_a_job_is_asked_for_once_an_interval_until_it_has_ended(bigquery: SlowBigQuery) -> None:
    bigquery.polled = lambda job: bigquery.finish() if job.polls == 3 else None
    event, seconds = fire(job_trigger(interval=10.0))
    assert event["status"] == "success"
    assert bigquery.jobs["job"].polls == 3
    assert 30 <= seconds < 40


def test_a_failed_job_fires_with_bigquerys_reason(bigquery: SlowBigQuery) -> None:
    bigquery.cancel("job")
    event, _ = fire(job_trigger())
    assert event["status"] == "error"
    assert "User requested cancellation" in event["message"]


def test_a_bigquery_that_refuses_to_say_fires_too(bigquery: SlowBigQuery) -> None:
    del bigquery.jobs["job"]
    event, _ = fire(job_trigger())
    assert event["status"] == "error"
    assert "Not found: Job job" in event["message"]


def test_a_user_who_cancels_it_while_it_asks_is_noticed(bigquery: SlowBigQuery) -> None:
    """Airflow says so in the message of the cancellation, and calls `on_kill` only then."""
    asking, answered = threading.Event(), threading.Event()

    def hesitate(_: Job) -> None:
        asking.set()
        answered.wait(30)

    bigquery.polled = hesitate

    async def cancelled_while_it_asks() -> str:
        waiting = asyncio.create_task(anext(aiter(job_trigger().run())))
        await asyncio.to_thread(asking.wait, 30)
        waiting.cancel("user-action")
        try:
            await waiting
        except asyncio.CancelledError as cancellation:
            return str(cancellation)
        finally:
            answered.set()
        return "not cancelled"

    assert virtual_time.run(cancelled_while_it_asks())[0] == "user-action"


@pytest.mark.parametrize(
    ("state", "cancelled"),
    [
        ("failed", True),
        ("success", True),
        ("skipped", True),
        # It was cleared: the next run of the task finds the job.
        (None, False),
        ("scheduled", False),
        ("running", False),
        # This triggerer was thought dead: another one waits for the job.
        ("deferred", False),
    ],
)
def test_only_the_job_of_a_task_that_was_marked_as_ended_is_cancelled(
    bigquery: SlowBigQuery, state: str | None, cancelled: bool
) -> None:
    trigger = job_trigger()
    trigger.state = state
    virtual_time.run(trigger.on_kill())
    assert bigquery.jobs["job"].done is cancelled


def test_a_trigger_is_made_again_from_what_airflow_stores(bigquery: SlowBigQuery) -> None:
    publication = PublicationTrigger("taxi_source", "http://127.0.0.1/x", "x", deadline=1.0, interval=60.0)
    for trigger in (JobTrigger(conn_id="c", job_id="j", project_id="p", location="US"), publication):
        path, arguments = trigger.serialize()
        assert path == f"elt.orchestration.triggers.{type(trigger).__name__}"
        json.dumps(arguments)
        assert type(trigger)(**arguments).serialize() == (path, arguments)


def publication(source: FaultySource, deadline: float = 3600.0, interval: float = 60.0) -> PublicationTrigger:
    return PublicationTrigger(
        "taxi_source", f"{source.url}/f.csv", "f.csv", deadline=time.time() + deadline, interval=interval
    )


def test_a_publication_fires_when_the_file_is_there(source: FaultySource) -> None:
    source.answers["/f.csv"] = [faulty_source.Fault(403, b""), *[faulty_source.Fault(200, b"a\n1\n")] * 2]
    event, seconds = fire(publication(source))
    assert event == {"status": "published"}
    assert 120 <= seconds < 180
    assert [method for method, _ in source.requests] == ["HEAD", "HEAD"]


def test_a_publication_never_fires_in_its_first_seconds(source: FaultySource) -> None:
    source.serve("/f.csv", b"a\n1\n")
    event, seconds = fire(publication(source, deadline=0.0, interval=0.1))
    assert event == {"status": "published"}
    assert seconds >= SETTLE


def test_a_publication_that_does_not_come_fires_at_its_deadline(source: FaultySource) -> None:
    event, _ = fire(publication(source, deadline=0.0))
    assert event == {"status": "late"}


def test_a_source_that_fails_for_a_while_is_waited_for(source: FaultySource) -> None:
    broken = [faulty_source.Fault(503, b"")] * 4  # one request, repeated by the client
    source.answers["/f.csv"] = [*broken, *[faulty_source.Fault(200, b"a\n1\n")] * 2]
    event, _ = fire(publication(source))
    assert event == {"status": "published"}


def test_a_page_in_the_files_place_fails_at_once_with_its_sentence(source: FaultySource) -> None:
    source.answers["/f.csv"] = [faulty_source.Fault(200, b"<html>", "text/html")]
    event, _ = fire(publication(source))
    assert event["status"] == "failed"
    assert "HTML page instead of the file" in event["message"]


def test_files_that_match_a_pattern_are_waited_for_in_their_place(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/part-*.csv"
    arguments = {"file": "f.csv", "interval": 60.0, "deadline": time.time() + 3600}
    (tmp_path / "another.csv").write_text("a\n")
    late = PublicationTrigger(None, url, **{**arguments, "deadline": time.time()})
    assert fire(late)[0] == {"status": "late"}
    (tmp_path / "part-1.csv").write_text("a\n")
    assert fire(PublicationTrigger(None, url, **arguments))[0] == {"status": "published"}
