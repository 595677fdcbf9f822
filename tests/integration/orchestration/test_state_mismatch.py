"""Airflow 3.3's deferral race: a task is back from its trigger before the scheduler knows its worker left.

The scheduler then fails it ("state mismatch"). That has to cost a retry, and nobody an alert.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import receiver as webhook
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from receiver import Receiver
from repository import REPOSITORY

from elt.orchestration import alerts

pytestmark = pytest.mark.filterwarnings("ignore")  # Airflow's own
DAG_ID, TASK_ID = "yellow_to_warehouse", "publish"
JOB_ID = 7


class Executor:
    """An executor that has just read that the worker of a task ended well."""

    def __init__(self, key: Any) -> None:
        self.key, self.callbacks = key, list[Any]()

    def get_event_buffer(self) -> dict[Any, tuple[str, None]]:
        return {self.key: ("success", None)}

    def has_task(self, _: Any) -> bool:
        return False

    def send_callback(self, request: Any) -> None:
        self.callbacks.append(request)


@pytest.fixture(scope="module")
def database() -> None:
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with webhook.running() as server:
        connection = {"conn_type": "generic", "password": server.url}
        monkeypatch.setenv("AIRFLOW_CONN_TAXI_ALERTS", json.dumps(connection))
        yield server


@pytest.mark.parametrize("state", ["running", "queued"])
def test_a_state_mismatch_is_retried_without_an_alert(database: None, receiver: Receiver, state: str) -> None:
    from airflow.dag_processing.processor import _execute_task_callbacks
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.session import create_session

    bag = DagBag(REPOSITORY / "dags")
    with create_session() as session:
        task = deferred_and_resumed(session, bag, state)
        executor = Executor(task.key)
        SchedulerJobRunner.process_executor_events(
            executor, job_id=JOB_ID, scheduler_dag_bag=DBDagBag(), session=session
        )
        session.refresh(task)
        assert task.state == "up_for_retry"
        assert [request.task_callback_type for request in executor.callbacks] == ["up_for_retry"]
    for request in executor.callbacks:
        _execute_task_callbacks(
            bag, request, SimpleNamespace(**dict.fromkeys(("info", "warning", "exception"), ignore))
        )
    assert not receiver.messages
    # The same webhook hears of a failure: it was there to be told.
    alerts.send(receiver.url, "heard")
    assert receiver.texts() == ["heard"]


def ignore(*_: object, **__: object) -> None:
    pass


def deferred_and_resumed(session: Any, bag: DagBag, state: str) -> Any:
    """An instance of the task in its first try, queued or running again after its trigger has fired."""
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    session.merge(DagBundleModel(name="dags"))
    session.flush()
    sync_bag_to_db(bag, "dags", None, session=session)
    session.flush()
    dag = DBDagBag().get_latest_version_of_dag(DAG_ID, session=session)
    run = dag.create_dagrun(
        run_id=f"resumed_{state}",
        run_type=DagRunType.MANUAL,
        run_after=datetime.now(UTC),
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        partition_key="2024-01",
        session=session,
    )
    task = run.get_task_instance(TASK_ID, session=session)
    task.state, task.try_number, task.queued_by_job_id = state, 1, JOB_ID
    task.next_method, task.next_kwargs = "resume", {}
    session.flush()
    return task
