"""An operator's methods, called as Airflow's task runner calls them, without an Airflow."""

from __future__ import annotations

import contextvars
from types import SimpleNamespace
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import TaskDeferred


class TaskInstance:
    """Keeps the XComs that are pushed."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


class Event:
    """What a task attaches to the event of an asset."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}
        self.partitions: list[str] = []

    def add_partitions(self, key: str) -> None:
        self.partitions.append(key)


def context(month: str | None = "2024-01", run_id: str = "run", **conf: Any) -> dict[str, Any]:
    """A run of a partitioned DAG, with a configuration."""
    return {
        "dag_run": SimpleNamespace(conf=conf, partition_key=month),
        "run_id": run_id,
        "dag": SimpleNamespace(dag_id="yellow_to_warehouse"),
        "ti": TaskInstance(),
        "outlet_events": {},
    }


def call(operator: BaseOperator, method: Any, *arguments: Any) -> Any:
    """Call a method; Airflow refuses `execute` from anywhere else."""
    inside = contextvars.copy_context()
    inside.run(ExecutorSafeguard.tracker.set, operator)
    return inside.run(method, *arguments)


def execute(operator: BaseOperator, given: dict[str, Any]) -> Any:
    """Run a task."""
    return call(operator, operator.execute, given)


def resume(
    operator: BaseOperator, deferred: TaskDeferred, event: dict[str, Any], given: dict[str, Any]
) -> Any:
    """Go on after a deferral, in another process: what is left is what Airflow has stored."""
    kwargs = {**(deferred.kwargs or {}), "event": event}
    return call(operator, operator.resume_execution, deferred.method_name, kwargs, given)
