"""What Airflow adds: parsing DAG files, starting the platform, months through the scheduler, empty tasks."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import platform
from bench.measure import CommandFailedError
from bench.measure import run as run_once
from bench.platform import Started
from bench.section import Bench, Json, Section, Target, process
from taxiway.airflow.client import AirflowApi
from taxiway.embedded import components
from taxiway.embedded.platform import Embedded
from taxiway.environment.home import REPOSITORY, read_json, write_json
from taxiway.errors import TaxiwayError
from taxiway.waiting import Patience

# A start takes half a minute: three of each are enough.
_MOST = 3
_MONTHS, _COUNT = "2023-01..2023-06", 6
EMPTY, _TASKS = "bench_empty", 5
_DAG = f'''
from airflow.sdk import DAG, task

with DAG("{EMPTY}", schedule=None) as dag:
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


def parse_dags(bench: Bench) -> Section:
    """Run all DAG files in a process of their own, several times."""
    folders = [REPOSITORY / "dags", REPOSITORY / "dags_local"]
    command = process("tasks", "parse", *folders)
    with tempfile.TemporaryDirectory() as home:
        variables = {
            "AIRFLOW_HOME": home,
            "AIRFLOW_CONFIG": str(REPOSITORY / "airflow" / "airflow.cfg"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        }
        runs = [run_once(command, variables) for _ in range(bench.n)]
    reports = [done.report for done in runs]
    seconds = statistics.median(one["seconds"] for one in reports)
    ours = {
        "name": "taxiway, all DAG files",
        "role": "ours",
        "rate": reports[0]["dags"] / seconds,
        "cpu_s": statistics.median(one["cpu_s"] for one in reports),
        "peak_rss_mb": max(done.peak_rss_mb for done in runs),
        "runs": len(runs),
    }
    facts = {
        "seconds": seconds,
        "seconds_min": min(one["seconds"] for one in reports),
        "seconds_max": max(one["seconds"] for one in reports),
        "airflow_seconds": statistics.median(one["airflow_seconds"] for one in reports),
        "modules": reports[0]["modules"],
        "packages": reports[0]["packages"],
    }
    bench.progress.say(
        f"{reports[0]['dags']} DAGs in {seconds:.3f} s, {reports[0]['modules']} modules", "done"
    )
    targets = [Target("seconds for all DAGs, beyond Airflow's import", seconds, at_most=0.5)]
    return Section("DAGs/s", [ours], targets, facts)


def start(bench: Bench) -> Section:
    """`scripts/up` from nothing, stop with the data kept, start with it, take all down; again."""
    cold: list[Started] = []
    warm: list[Started] = []
    stops: list[float] = []
    downs: list[float] = []
    platform.down()
    try:
        for number in range(min(bench.n, _MOST)):
            for starts, ends, keep in ((cold, stops, ["--keep-data"]), (warm, downs, [])):
                starts.append(platform.up())
                bench.progress.say(f"{number + 1}  {_line(starts[-1])}", "done")
                ends.append(platform.down(*keep))
    except CommandFailedError as error:
        bench.progress.say(f"{error}", "failed")
    finally:
        platform.down()
    facts = {"cold": _phases(cold), "warm": _phases(warm), "stop_s": _median(stops), "down_s": _median(downs)}
    targets = [
        Target("seconds to loaded tables, cold", _seconds(cold), at_most=20),
        Target("CPU seconds, cold", _median([start.cpu_s for start in cold]), at_most=40),
        Target("seconds to loaded tables, kept data", _seconds(warm), at_most=12),
    ]
    contestants = [
        {
            "name": f"taxiway up, {name}", "role": "ours",
            "rate": 1 / statistics.median(s.seconds for s in starts),
            "cpu_s": statistics.median(s.cpu_s for s in starts),
            "peak_rss_mb": max(s.memory_mb for s in starts), "runs": len(starts),
        }
        for name, starts in (("cold", cold), ("with kept data", warm))
        if starts
    ]  # fmt: skip
    return Section("starts/s", contestants, targets, facts)


def _line(start: Started) -> str:
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in start.phases.items())
    return f"{start.seconds:.1f} s, {start.cpu_s:.0f} CPU s ({parts})"


def _phases(starts: list[Started]) -> Json:
    names = list(dict.fromkeys(name for start in starts for name in start.phases))
    return {
        "seconds": [start.seconds for start in starts],
        "phases": {
            name: statistics.median(s.phases[name] for s in starts if name in s.phases) for name in names
        },
    }


def _seconds(starts: list[Started]) -> float | None:
    return _median([start.seconds for start in starts])


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def backfill(bench: Bench) -> Section:
    """Load six months through the scheduler, then run a DAG of five empty tasks: Airflow's own share."""
    platform.down()
    with platform.running() as target:
        started = time.monotonic()
        platform.command("run", "yellow", _MONTHS)
        minutes = (time.monotonic() - started) / 60
        runs, tasks = _count_tasks(target.api)
        bench.progress.say(f"{_COUNT} months, {tasks} tasks in {minutes * 60:.1f} s", "done")
        try:
            overhead = _empty_runs(bench, target)
        except TaxiwayError as error:
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


def _count_tasks(api: AirflowApi) -> tuple[int, int]:
    """How many runs and tasks the months took."""
    dag_ids = [name for name in api.dags() if name.startswith("yellow_")]
    runs = [run for run in api.runs(dag_ids) if (run["partition_key"] or "").startswith("2023")]
    return len(runs), len(api.task_instances(dag_ids, [run["dag_run_id"] for run in runs]))


def _empty_runs(bench: Bench, target: Any) -> list[float]:
    """Seconds of some runs of five empty tasks, one run after the other."""
    add_empty_dag(target, bench.folder / "dags")
    api = target.api
    Patience(60).until(lambda: EMPTY in api.dags(), lambda: f"Airflow does not parse {EMPTY}")
    api.unpause(EMPTY)
    seconds = [_seconds_of(finished_run(api)) for _ in range(bench.n + 1)]
    bench.progress.say(f"{_TASKS} empty tasks: {', '.join(f'{s:.2f}' for s in seconds)} s", "done")
    return seconds[1:]  # the first one warms what is built at first use


def write_empty_dag(folder: Path) -> None:
    """A DAG file of empty tasks, one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{EMPTY}.py").write_text(_DAG)


def add_empty_dag(target: Any, folder: Path) -> None:
    """Give Airflow one more folder of DAGs, with the empty one, and start it anew."""
    if not isinstance(target, Embedded):
        raise TaxiwayError("the empty DAG needs the embedded target")
    write_empty_dag(folder)
    variables = read_json(platform.HOME.environment)
    bundles = json.loads(variables[_BUNDLES])
    kwargs = {**bundles[0]["kwargs"], "path": str(folder)}
    bundles.append({**bundles[0], "name": "bench", "kwargs": kwargs})
    write_json(platform.HOME.environment, {**variables, _BUNDLES: json.dumps(bundles)})
    target.supervisor.stop_components(components.AIRFLOW)
    for name in components.AIRFLOW:
        target.supervisor.start_component(name)
    Patience(120).until(
        lambda: all(target.api.healthy().values() or [False]), lambda: "Airflow does not come up again"
    )


def finished_run(api: AirflowApi) -> Json:
    """Trigger the empty DAG and wait for its end; the run as Airflow describes it."""
    run_id = api.trigger(EMPTY, None, {})["dag_run_id"]
    found: list[Json] = []

    def over() -> bool:
        found[:] = [run for run in api.runs([EMPTY]) if run["dag_run_id"] == run_id]
        return bool(found) and found[0]["state"] in ("success", "failed")

    Patience(120).until(over, lambda: f"{EMPTY} does not end")
    if found[0]["state"] != "success":
        raise TaxiwayError(f"{EMPTY} did not succeed")
    return found[0]


def _seconds_of(run: Json) -> float:
    """From the trigger to the end of the last task, by Airflow's own clock."""
    first, last = (datetime.fromisoformat(run[key]) for key in ("queued_at", "end_date"))
    return (last - first).total_seconds()
