"""What every DAG and task has for its operation: retries, alerts, an end to every wait, assets throughout."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import product
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, Asset, timezone
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import TimeRestriction
from repository import REPOSITORY

from elt.catalogue import Dataset
from elt.catalogue.model import PARTS
from elt.catalogue.registry import DATASETS
from elt.errors import InvalidPeriodError
from elt.orchestration import alerts
from elt.orchestration.assets import raw_asset
from elt.orchestration.dag_defaults import RetryTransientErrors, lake_schedule
from elt.orchestration.operators import announce, follows_forced, is_forced, period_of
from elt.periods import Day, Hour, Month, Period, Year

YELLOW = DATASETS["yellow"]


def callbacks(of: Any) -> list[Callable[..., Any]]:
    return of if isinstance(of, list) else [of] if of else []


def test_every_task_has_the_retry_rule_and_reports_its_failure(dags: dict[str, DAG]) -> None:
    for task in [task for dag in dags.values() for task in dag.tasks]:
        assert isinstance(task.retry_policy, RetryTransientErrors), task
        assert alerts.task_failed in callbacks(task.on_failure_callback), task


def test_nothing_is_sent_when_a_task_is_retried(dags: dict[str, DAG]) -> None:
    """Also not when the scheduler retries it ("state mismatch"): then Airflow calls this callback alone."""
    assert not [task for dag in dags.values() for task in dag.tasks if callbacks(task.on_retry_callback)]


def test_every_run_reports_what_was_killed(dags: dict[str, DAG]) -> None:
    silent = [dag_id for dag_id, dag in dags.items() if dag.on_failure_callback is not alerts.run_failed]
    assert not silent, "give each **dag_defaults()"


def test_a_month_that_is_late_is_reported(dags: dict[str, DAG]) -> None:
    sensor = dags["yellow_to_lake"].get_task("wait_until_published")
    assert alerts.late in callbacks(sensor.on_skipped_callback)


def test_every_wait_ends(dags: dict[str, DAG]) -> None:
    """Each kind of task, by name: none may be without a time-out, and none may be unknown here."""
    limits: dict[str, set[timedelta | None]] = {}
    for task in [task for dag in dags.values() for task in dag.tasks]:
        limits.setdefault(task.task_id.removeprefix("reload."), set()).add(task.execution_timeout)
    hours = {
        name: {limit and limit / timedelta(hours=1) for limit in found} for name, found in limits.items()
    }
    assert hours == {
        "wait_until_published": {1 / 6},
        "check": {1},
        "download": {3},
        "conform": {3},
        "load_postgres": {3},
        "build": {3},
        **{name: {3} for name in ("lake", "postgres")},
        **{name: {0.5} for name in ("stage", "audit", "publish", "mart", "warehouse")},
    }


def test_every_run_ends(dags: dict[str, DAG]) -> None:
    days = {
        dag_id: dag.dagrun_timeout and dag.dagrun_timeout / timedelta(days=1) for dag_id, dag in dags.items()
    }
    assert {dag_id for dag_id, limit in days.items() if limit != 1} == {
        f"{name}_to_lake" for name in DATASETS
    }
    # Longer than the longest wait for a publication.
    waits = {
        name: dags[f"{name}_to_lake"].get_task("wait_until_published").timeout / 86_400 for name in DATASETS
    }
    assert {name: days[f"{name}_to_lake"] for name in DATASETS} == {n: wait + 1 for n, wait in waits.items()}
    assert {waits[name] for name in product.DATASETS} == {21}


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
def test_a_source_check_makes_what_the_lake_dag_makes(dags: dict[str, DAG], name: str) -> None:
    check, lake = dags[f"{name}_source_check"], dags[f"{name}_to_lake"]
    made = [{outlet.name for task in dag.tasks for outlet in task.outlets} for dag in (check, lake)]
    assert made[0] == made[1]
    assert check.max_active_runs == 1
    assert check.get_task("check").pool == "source"
    reloads = [task for task in check.tasks if task.task_id.startswith("reload.")]
    assert all(task.pool == task.task_id.removeprefix("reload.") for task in reloads)


# Schedules


def parsed(folder: str = "dags") -> DagBag:
    return DagBag(REPOSITORY / folder)


def test_without_a_schedule_start_no_month_is_loaded_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Composer. tests/integration/orchestration/test_deferral.py sees that Airflow makes no run."""
    monkeypatch.delenv("TAXI_SCHEDULE_START", raising=False)
    lakes = [dag for dag_id, dag in parsed().dags.items() if dag_id.endswith("_to_lake")]
    assert len(lakes) == len(DATASETS)
    assert {dag.start_date.year for dag in lakes} == {2200}


def test_with_a_schedule_start_months_are_scheduled_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_SCHEDULE_START", "2025-06-17")
    dags = parsed().dags
    assert dags["yellow_to_lake"].start_date.isoformat() == "2025-06-17T00:00:00+00:00"
    assert type(dags["yellow_to_lake"].timetable).__name__ == "CronPartitionTimetable"
    # What was loaded on the first day has not changed since.
    assert dags["yellow_source_check"].start_date.isoformat() == "2025-06-18T00:00:00+00:00"


@pytest.mark.parametrize("text", ["2024-13-01", "soon", "2024-01-01T12:00+05:00"])
def test_a_malformed_schedule_start_is_one_sentence_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TAXI_SCHEDULE_START", text)
    errors = parsed().import_errors
    assert len(errors) >= 3
    for error in errors.values():
        last = error.strip().splitlines()[-1]
        assert "TAXI_SCHEDULE_START" in last
        assert repr(text) in last
        assert "Write it like 2024-01-31" in last


def test_an_entry_that_was_left_out_is_an_import_error_and_costs_no_other_dag(tmp_path: Any) -> None:
    """The DAG file that says so, in a copy of the plugins in which one entry is wrong."""
    import shutil
    import subprocess
    import sys

    shutil.copytree(
        REPOSITORY / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__")
    )
    wrong = tmp_path / "plugins" / "nyc_taxi" / "datasets" / "wrong.py"
    wrong.write_text(
        "from elt.catalogue import Dataset\nWRONG = Dataset(name='No name!', title='', path='')\n"
    )
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path / "plugins")!r})
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({str(REPOSITORY / "dags")!r})
import elt; assert elt.__file__.startswith({str(tmp_path)!r})
print(len(bag.dags)); print(*[e.strip().splitlines()[-1] for e in bag.import_errors.values()], sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    count, *errors = done.stdout.strip().splitlines()[-2:]
    assert int(count) == len(parsed().dags)
    assert len(errors) == 1
    assert "wrong.py" in errors[0]


# Run context


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
    assert is_forced(context(conf)) is expected


def test_a_forced_run_hands_that_on_to_those_that_follow_it() -> None:
    asset = raw_asset(YELLOW)
    first = context({"force": True})
    announce(asset, {"rows": 98}, first, Month(2024, 1))
    event = first["outlet_events"][asset]
    assert event.extra == {"rows": 98, "force": True}
    assert event.partitions == ["2024-01"]
    events: dict[Asset, list[Event]] = {asset: [event]}
    assert follows_forced(context(events=events))
    assert not follows_forced(context(events={asset: [Event(rows=98)]}))


def test_a_run_without_a_month_fails_with_a_sentence() -> None:
    with pytest.raises(InvalidPeriodError, match="trigger yellow_to_lake with one"):
        period_of(YELLOW, context())
    assert period_of(YELLOW, context(key="2024-01")) == Month(2024, 1)
    assert period_of(DATASETS["zones"], context()) is None


@pytest.mark.parametrize(
    ("first", "lag", "tick", "keys"),
    [
        (Hour(2024, 1, 1, 0), 1, "2024-03-01T00:00", ["2024-02-29T23", "2024-03-01T00"]),
        (Day(2024, 1, 1), 1, "2024-03-01T00:00", ["2024-02-29", "2024-03-01"]),
        (Day(2024, 1, 1), 3, "2024-03-01T00:00", ["2024-02-27", "2024-02-28"]),
        (Month(2024, 1), 2, "2024-03-01T00:00", ["2024-01", "2024-02"]),
        (Year(2020), 1, "2024-01-01T00:00", ["2023", "2024"]),
    ],
    ids=str,
)
def test_the_schedule_asks_for_a_period_when_it_is_published(
    first: Period, lag: int, tick: str, keys: list[str]
) -> None:
    names = "_".join(PARTS[: len(repr(first).split(","))])
    ds = Dataset("own", "Own", f"https://example.com/{names}.pdf", first=first, lag=lag)
    schedule = decode_timetable(encode_timetable(lake_schedule(ds)))
    found = []
    after = timezone.parse(tick) - timedelta(seconds=1)
    for _ in keys:
        limits = TimeRestriction(after, None, catchup=True)
        info = schedule.next_dagrun_info_v2(last_dagrun_info=None, restriction=limits)
        found.append(info.partition_key)
        after = info.run_after + timedelta(seconds=1)
    assert found == keys
    assert [str(Period.parse(key)) for key in found] == keys
