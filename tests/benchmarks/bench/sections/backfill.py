"""Months through the scheduler, and what Airflow adds to a task: five empty ones in a row."""

from __future__ import annotations

import statistics
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import platform
from bench.bench import Bench
from bench.processes import CommandFailed
from bench.section import Section, Target
from taxiway.airflow.client import AirflowApi
from taxiway.embedded import components
from taxiway.embedded.platform import Embedded
from taxiway.environment.home import read_json, write_json

TITLE = "Backfill"
_MONTHS, _COUNT = "2023-01..2023-06", 6
_EMPTY, _TASKS = "bench_empty", 5
_DAG = f'''
from airflow.sdk import DAG, task

with DAG("{_EMPTY}", schedule=None) as dag:
    before = None
    for number in range({_TASKS}):

        @task(task_id=f"task_{{number}}")
        def empty():
            pass

        this = empty()
        if before is not None:
            before >> this
        before = this
'''
_BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"


def run(bench: Bench) -> Section:
    """Load six months, then run the empty DAG."""
    platform.down()
    with platform.running() as target:
        started = time.monotonic()
        platform.verb("run", "yellow", _MONTHS)
        minutes = (time.monotonic() - started) / 60
        runs, tasks = _what_ran(target.api)
        bench.progress.say(f"{_COUNT} months, {tasks} tasks in {minutes * 60:.1f} s", "done")
        try:
            overhead = _empty_runs(bench, target)
        except CommandFailed as error:
            bench.progress.say(str(error), "failed")
            overhead = []
    each = statistics.median(overhead) / _TASKS if overhead else None
    facts = {
        "months_per_minute": _COUNT / minutes,
        "runs": runs,
        "tasks": tasks,
        "wall_s_per_task": minutes * 60 / tasks,
        "empty_run_s": overhead,
        "orchestration_s_per_task": each,
    }
    ours = {"name": "taxiway run, six months", "role": "ours", "rate": _COUNT / minutes, "runs": 1}
    targets = [Target("seconds of orchestration a task (five empty ones)", each, at_most=0.5)]
    return Section("months/min", [ours], targets, facts)


def _what_ran(api: AirflowApi) -> tuple[int, int]:
    """How many runs and tasks the months took."""
    dag_ids = [name for name in api.dags() if name.startswith("yellow_")]
    runs = [run for run in api.runs(dag_ids) if (run["partition_key"] or "").startswith("2023")]
    return len(runs), len(api.task_instances(dag_ids, [run["dag_run_id"] for run in runs]))


def _empty_runs(bench: Bench, target: Any) -> list[float]:
    """Seconds of some runs of five empty tasks, one run after the other."""
    if not isinstance(target, Embedded):
        raise CommandFailed("the empty DAG needs the embedded target")
    _add_folder(target, bench.folder / "dags")
    api = target.api
    if not platform.wait(lambda: _EMPTY in api.dags(), 60):
        raise CommandFailed(f"Airflow does not see {_EMPTY}")
    api.unpause(_EMPTY)
    seconds = [_one_run(api) for _ in range(bench.n + 1)]
    bench.progress.say(f"{_TASKS} empty tasks: {', '.join(f'{s:.2f}' for s in seconds)} s", "done")
    return seconds[1:]  # the first one warms what is built at first use


def _add_folder(target: Embedded, folder: Path) -> None:
    """Give Airflow one more folder of DAGs, and start it anew."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{_EMPTY}.py").write_text(_DAG)
    variables = read_json(platform.HOME.environment)
    bundles = json.loads(variables[_BUNDLES])
    bundles.append({**bundles[0], "name": "bench", "kwargs": {"path": str(folder)}})
    write_json(platform.HOME.environment, {**variables, _BUNDLES: json.dumps(bundles)})
    target.supervisor.stop_components(components.AIRFLOW)
    for name in components.AIRFLOW:
        target.supervisor.start_component(name)
    if not platform.wait(lambda: all(target.api.healthy().values() or [False]), 120):
        raise CommandFailed("Airflow does not come up again")


def _one_run(api: AirflowApi) -> float:
    """From the trigger to the end of the last task, by Airflow's own clock."""
    run_id = api.trigger(_EMPTY, None, {})["dag_run_id"]
    found: list[dict[str, Any]] = []

    def over() -> bool:
        found[:] = [run for run in api.runs([_EMPTY]) if run["dag_run_id"] == run_id]
        return bool(found) and found[0]["state"] in ("success", "failed")

    if not platform.wait(over, 120) or found[0]["state"] != "success":
        raise CommandFailed(f"{_EMPTY} did not succeed")
    first, last = (datetime.fromisoformat(found[0][key]) for key in ("queued_at", "end_date"))
    return (last - first).total_seconds()
