"""The scheduler rests while nothing is due, and no longer; it has no more workers than tasks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert

from elt.orchestration.executor import LOOK_SECONDS, ROUND_SECONDS, SIGNS, RestingLocalExecutor, Signs, rest

NOW = datetime.now(UTC)
QUIET: Signs = (False, 7)


@dataclass
class World:
    """What is seen look after look, the last one for ever; its clock goes on while one waits."""

    signs: list[Signs]
    disturbed_at: float = 1e9
    seconds: float = 0
    looks: int = 0

    def wait(self, seconds: float) -> bool:
        self.seconds += seconds
        return self.seconds >= self.disturbed_at

    def look(self) -> Signs:
        self.looks += 1
        return self.signs[min(self.looks, len(self.signs)) - 1]

    def rest(self, known: Signs | None = QUIET) -> Signs:
        return rest(self.look, known, self.wait, lambda: self.seconds)


def test_a_round_lasts_until_the_heartbeat_while_nothing_happens() -> None:
    world = World([QUIET])
    assert world.rest() == QUIET
    assert ROUND_SECONDS <= world.seconds < ROUND_SECONDS + 2 * LOOK_SECONDS


@pytest.mark.parametrize("sign", [(True, 7), (False, 8)], ids=["due", "an asset event"])
def test_what_happens_ends_the_round_at_the_next_look(sign: Signs) -> None:
    world = World([QUIET, QUIET, sign])
    assert world.rest() == sign
    assert world.looks == 3


def test_what_happened_during_the_round_is_seen_at_the_first_look() -> None:
    world = World([(False, 8)])
    world.rest(known=QUIET)
    assert world.looks == 1


def test_the_end_of_a_task_ends_the_round_at_once() -> None:
    world = World([QUIET], disturbed_at=LOOK_SECONDS)
    world.rest()
    assert world.looks == 1


@pytest.fixture
def database() -> Iterator[Connection]:
    """Airflow's own tables, as its models describe them."""
    from airflow.models.asset import AssetEvent
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun

    tables = [model.__table__ for model in (DagModel, DagRun, AssetEvent)]
    engine = create_engine("sqlite://")
    DagModel.metadata.create_all(engine, tables=tables)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def add(connection: Connection, dag: dict[str, Any], **run: Any) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun

    flags = ("paused", "stale")
    usual = {f"is_{name}": False for name in flags} | {"has_import_errors": False, "fail_fast": False}
    usual |= {"exceeds_max_non_backfill": False, "has_task_concurrency_limits": False}
    row = {"dag_id": "d", "bundle_name": "dags", "max_active_tasks": 1, "max_consecutive_failed_dag_runs": 0}
    connection.execute(insert(DagModel.__table__).values(**row, **usual | dag))
    if run:
        row = {"dag_id": "d", "run_id": "r", "run_type": "manual", "log_template_id": 1, "clear_number": 0}
        connection.execute(insert(DagRun.__table__).values(**row, **{"run_after": NOW - timedelta(1)} | run))


@pytest.mark.parametrize(
    ("dag", "run", "due"),
    [
        ({}, {}, False),
        ({}, {"state": "success"}, False),
        ({}, {"state": "queued"}, True),
        ({}, {"state": "running"}, True),
        ({}, {"state": "queued", "run_after": NOW + timedelta(1)}, False),
        ({"is_paused": True}, {"state": "queued"}, False),
        ({"is_stale": True}, {"state": "running"}, False),
        ({"next_dagrun_create_after": NOW - timedelta(1)}, {}, True),
        ({"next_dagrun_create_after": NOW + timedelta(1)}, {}, False),
        ({"next_dagrun_create_after": NOW - timedelta(1), "is_paused": True}, {}, False),
        ({"next_dagrun_create_after": NOW - timedelta(1), "has_import_errors": True}, {}, False),
        ({"next_dagrun_create_after": NOW - timedelta(1), "exceeds_max_non_backfill": True}, {}, False),
    ],
    ids=[
        "nothing", "over", "queued", "running", "later", "paused", "gone", "scheduled", "scheduled later",
        "scheduled and paused", "scheduled and broken", "scheduled and full",
    ],
)  # fmt: skip
def test_due_is_what_the_scheduler_would_take_up(
    database: Connection, dag: dict[str, Any], run: dict[str, Any], due: bool
) -> None:
    add(database, dag, **run)
    assert database.execute(SIGNS).one() == (due, None)


@dataclass(frozen=True)
class Workload:
    """One that no worker knows how to run: it fails at once."""

    key: str
    running_state: None = None
    display_name: str = "a task"
    success_state: str = "success"
    failure_state: str = "failed"


class Executor(RestingLocalExecutor):
    """Without a database: nothing is due."""

    # Airflow asks its logger for its name, which it has lost where another library has configured structlog.
    log = logging.getLogger(__name__)

    def sync(self) -> None:
        """Only the part that reads results."""
        super(RestingLocalExecutor, self).sync()


@pytest.fixture
def executor() -> Iterator[Executor]:
    started = Executor(parallelism=8)
    started.start()
    yield started
    started.end()


def run_all(executor: Executor, *keys: str) -> None:
    executor.queued_tasks.update({key: Workload(key) for key in keys})  # type: ignore[arg-type,misc]
    executor._process_workloads([Workload(key) for key in keys])
    while set(keys) - set(executor.event_buffer):
        executor._wait(10)
        executor.sync()


class Hand:
    """A worker that takes nothing."""

    def is_alive(self) -> bool:
        return True


class Counted(Executor):
    """Its workers are there to be counted; `worked` is when the last task was sent, of which it waits."""

    worked = property(lambda self: self.sent, lambda *_: None)  # type: ignore[assignment]
    sent = float("inf")

    def _spawn_worker(self) -> None:
        self.workers[len(self.workers)] = Hand()  # type: ignore[assignment]

    def send(self, *keys: str) -> int:
        """How many workers there are when these tasks were sent, too."""
        workloads = [Workload(key) for key in keys]
        self.queued_tasks.update(zip(keys, workloads, strict=True))  # type: ignore[misc]
        self._process_workloads(workloads)
        return len(self.workers)


def test_there_are_as_many_workers_as_tasks_at_once_and_none_before() -> None:
    counted = Counted(parallelism=8)
    counted.start()
    assert counted.workers == {}
    assert counted.send("a") == 1
    assert counted.send("b") == 2
    counted.change_state("a", "success")
    assert counted.send("c") == 2, "one was free"
    assert counted.send(*"defghijk") == 8, "no more than allowed"


def test_a_task_that_nobody_has_taken_gets_a_worker_whatever_was_counted() -> None:
    counted = Counted(parallelism=8)
    counted.start()
    counted.send("a")
    counted.at_work.clear()
    counted.sent = float("-inf")
    counted.sync()
    assert len(counted.workers) == 2


def test_workers_without_work_are_ended_and_come_back(executor: Executor) -> None:
    run_all(executor, "a", "b")
    leaving = list(executor.workers.values())
    executor._dismiss()
    for worker in leaving:
        worker.join(30)
    run_all(executor, "c")
    assert set(executor.event_buffer) == {"a", "b", "c"}
    assert executor.at_work.total() == 0
