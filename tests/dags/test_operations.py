"""What every DAG and task has for its operation: retries with judgement, alerts, assets from end to end."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, Asset
from repository import REPOSITORY

from elt.catalogue.registry import DATASETS
from elt.errors import InvalidMonthError
from elt.orchestration import alerts
from elt.orchestration.retries import Judgement
from elt.orchestration.wiring import announce, follows_forced, forced, month_of, raw_asset

YELLOW = DATASETS["yellow"]


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    bags = [DagBag(REPOSITORY / folder) for folder in ("dags", "dags_local")]
    found = {dag_id: dag for bag in bags for dag_id, dag in bag.dags.items()}
    assert len(found) >= 4 * 4
    return found


def test_every_task_is_judged_and_tells_of_its_failure(dags: dict[str, DAG]) -> None:
    for task in [task for dag in dags.values() for task in dag.tasks]:
        assert isinstance(task.retry_policy, Judgement), task
        callbacks = task.on_failure_callback
        assert alerts.task_failed in (callbacks if isinstance(callbacks, list) else [callbacks]), task


def test_every_run_tells_of_what_was_killed(dags: dict[str, DAG]) -> None:
    silent = [dag_id for dag_id, dag in dags.items() if dag.on_failure_callback is not alerts.run_failed]
    assert not silent, "give each **common()"


def test_a_month_that_is_late_is_told_of(dags: dict[str, DAG]) -> None:
    callbacks = dags["yellow_to_lake"].get_task("wait_until_published").on_skipped_callback
    assert alerts.late in (callbacks if isinstance(callbacks, list) else [callbacks])


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if entry.feeds])
def test_assets_lead_from_the_source_to_every_mart_and_to_postgres(dags: dict[str, DAG], name: str) -> None:
    arrows = {
        (inlet.name, outlet.name)
        for dag_id, dag in dags.items()
        if dag_id.startswith(f"{name}_to_")
        for task in dag.tasks
        for inlet in task.inlets
        for outlet in task.outlets
    }
    assert arrows == {
        (f"{name}_source", f"{name}_raw"),
        (f"{name}_raw", f"{name}_typed"),
        (f"{name}_typed", f"{name}_table"),
        *([(f"{name}_raw", f"{name}_postgres")] if DATASETS[name].in_postgres else []),
        *((f"{name}_table", feed.mart) for feed in DATASETS[name].feeds),
    }


@pytest.mark.parametrize("name", DATASETS)
def test_a_source_check_makes_what_the_lake_dag_makes_and_begins_a_day_later(
    dags: dict[str, DAG], name: str
) -> None:
    check, lake = dags[f"{name}_source_check"], dags[f"{name}_to_lake"]
    made = [{outlet.name for task in dag.tasks for outlet in task.outlets} for dag in (check, lake)]
    assert made[0] == made[1]
    assert check.start_date - lake.start_date == timedelta(days=1)
    assert check.max_active_runs == 1
    assert check.get_task("check").pool == "source"
    reloads = [task for task in check.tasks if task.task_id.startswith("reload.")]
    assert [task.pool for task in reloads] == [task.task_id.removeprefix("reload.") for task in reloads]


def context(conf: Any = None, events: Any = None, key: str | None = None) -> dict[str, Any]:
    run = SimpleNamespace(conf=conf, partition_key=key)
    outlets = {raw_asset(YELLOW): Event()}
    dag = SimpleNamespace(dag_id="yellow_to_lake")
    return {"dag_run": run, "triggering_asset_events": events, "outlet_events": outlets, "dag": dag}


class Event:
    def __init__(self, **extra: Any) -> None:
        self.extra, self.partitions = dict[str, Any](extra), list[str]()

    def add_partitions(self, key: str) -> None:
        self.partitions.append(key)


@pytest.mark.parametrize(
    ("conf", "expected"), [({"force": True}, True), ({"force": "no"}, False), (None, False)]
)
def test_a_run_is_forced_by_its_configuration_alone(conf: Any, expected: bool) -> None:
    assert forced(context(conf)) is expected


def test_a_forced_run_hands_that_on_to_those_that_follow_it() -> None:
    asset = raw_asset(YELLOW)
    first = context({"force": True})
    announce(asset, {"rows": 98}, first, "2024-01")
    event = first["outlet_events"][asset]
    assert event.extra == {"rows": 98, "force": True}
    assert event.partitions == ["2024-01"]
    events: dict[Asset, list[Event]] = {asset: [event]}
    assert follows_forced(context(events=events))
    assert not follows_forced(context(events={asset: [Event(rows=98)]}))


def test_a_run_without_a_month_is_refused_with_a_sentence() -> None:
    with pytest.raises(InvalidMonthError, match="trigger yellow_to_lake with one"):
        month_of(YELLOW, context())
    assert month_of(YELLOW, context(key="2024-01")) == "2024-01"
    assert month_of(DATASETS["zones"], context()) is None
