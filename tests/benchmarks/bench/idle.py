"""What the platform costs while nothing happens, and how long the first task waits after that.

Of each component: CPU seconds and memory (shared pages counted once) of its processes, those that it started
meanwhile included. A peer is `airflow standalone` of the same version, as it comes.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench import orchestration, platform, section
from bench.measure import MEGABYTE, cpu_of_tree
from bench.section import Bench, Json, Section
from taxiway.airflow.client import AirflowApi
from taxiway.airflow.environment import clean_environment
from taxiway.environment.ports import choose_ports
from taxiway.errors import TaxiwayError
from taxiway.waiting import Patience

if TYPE_CHECKING:
    from taxiway.targets.target import Target

# What was started last has been done by then: imports, first parses, workers that are no longer needed.
SETTLE_SECONDS = 90
# A run after a pause, so that each finds everything asleep.
_PAUSE_SECONDS = 8
_PARTS = ("scheduler", "dag-processor", "triggerer", "api-server")


@dataclass(frozen=True)
class Use:
    """CPU seconds since their start, megabytes now, and number of the processes of one component."""

    cpu_s: float
    memory_mb: float
    processes: int


Watched = tuple[Mapping[str, Use], Mapping[str, Use]]


def idle(bench: Bench) -> Section:
    """Start the platform, let it settle, watch it; then trigger empty runs. The same with the peer."""
    platform.down()
    with platform.running() as target:
        watched = _watch(bench, platform.manager().pid)
        ours = _contestant("taxiway, nothing to do", "ours", watched, bench)
        waits = _first_tasks(bench, target)
    contestants, peers_waits = [ours], None
    if bench.compared:
        contestant, peers_waits = _standalone(bench)
        contestants.append(contestant)
    percent, memory = 100 * ours["cpu_s"] / bench.seconds, ours["peak_rss_mb"]
    facts: Json = {
        "percent_of_a_core": _percents(watched, bench.seconds),
        "mb": {name: use.memory_mb for name, use in watched[1].items()},
        "processes": {name: use.processes for name, use in watched[1].items()},
        "first_task_s": waits,
        "first_task_s_of_the_peer": peers_waits,
    }
    targets = [
        section.Target("% of one core", percent, at_most=3),
        section.Target("MB, pages that processes share counted once", memory, at_most=900),
        section.Target("seconds from a trigger to its first task", statistics.median(waits), at_most=1.5),
    ]
    return Section("idle seconds per CPU second", contestants, targets, facts)


def uses(root: psutil.Process) -> dict[str, Use]:
    """What each child of the process manager uses, by the name of the folder in which it runs; and itself."""
    found = {"process manager": _use(root, [root], cpu_of_it_alone(root))}
    for child in root.children():
        with contextlib.suppress(psutil.Error):
            name = next((part for part in _PARTS if part in child.cmdline()), Path(child.cwd()).name)
            found[name] = _use(child, [child, *child.children(recursive=True)], cpu_of_tree(child.pid))
    return found


def cpu_of_it_alone(process: psutil.Process) -> float:
    """CPU seconds of a process without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _use(root: psutil.Process, members: list[psutil.Process], cpu_s: float) -> Use:
    memory = 0
    for process in members:
        with contextlib.suppress(psutil.Error):
            memory += process.memory_full_info().pss
    return Use(cpu_s, memory / MEGABYTE, len(members))


def _watch(bench: Bench, pid: int) -> Watched:
    """What is used at the beginning and at the end of a quiet time."""
    root = psutil.Process(pid)
    with bench.progress.phase(f"it settles for {SETTLE_SECONDS} s"):
        time.sleep(SETTLE_SECONDS)
    before = uses(root)
    with bench.progress.phase(f"nothing happens for {bench.seconds} s"):
        time.sleep(bench.seconds)
    return before, uses(root)


def _percents(watched: Watched, seconds: float) -> dict[str, float]:
    before, after = watched
    return {name: 100 * (after[name].cpu_s - use.cpu_s) / seconds for name, use in before.items()}


def _contestant(name: str, role: str, watched: Watched, bench: Bench) -> Json:
    before, after = watched
    cpu = sum(after[part].cpu_s - use.cpu_s for part, use in before.items())
    memory = sum(use.memory_mb for use in after.values())
    number = sum(use.processes for use in after.values())
    bench.progress.say(
        f"{name}: {100 * cpu / bench.seconds:.1f} % of a core, {memory:,.0f} MB, {number} processes", "done"
    )
    return {
        "name": f"{name}, {number} processes", "role": role, "rate": bench.seconds / cpu,
        "cpu_s": cpu, "peak_rss_mb": memory, "runs": 1,
    }  # fmt: skip


def _first_tasks(bench: Bench, target: Target) -> list[float]:
    """Seconds from the trigger of a run to the start of its first task, by Airflow's own clock."""
    orchestration.add_empty_dag(target, bench.folder / "dags")
    return _waits(bench, target.api)


def _waits(bench: Bench, api: AirflowApi) -> list[float]:
    name = orchestration.EMPTY
    Patience(120).until(lambda: name in api.dags(), lambda: f"Airflow does not parse {name}")
    api.unpause(name)
    seconds = []
    for _ in range(bench.n + 1):
        time.sleep(_PAUSE_SECONDS)
        asked = datetime.now().astimezone()
        run = orchestration.finished_run(api)
        first = min(t["start_date"] for t in api.task_instances([name], [run["dag_run_id"]]))
        seconds.append((datetime.fromisoformat(first) - asked).total_seconds())
    bench.progress.say(f"first tasks start after {', '.join(f'{s:.2f}' for s in seconds)} s", "done")
    return seconds[1:]  # the first one warms what is built at first use


def _standalone(bench: Bench) -> tuple[Json, list[float]]:
    """`airflow standalone` with its defaults, SQLite among them; only the ports are other ones."""
    home = bench.folder / "standalone"
    (home / "dags").mkdir(parents=True, exist_ok=True)
    orchestration.write_empty_dag(home / "dags")
    with _running_standalone(home) as (process, api):
        watched = _watch(bench, process.pid)
        used = _contestant("airflow standalone", "peer", watched, bench)
        try:
            return used, _waits(bench, api)
        except TaxiwayError as error:  # its SQLite may keep everybody waiting for longer than a request may
            bench.progress.say(f"airflow standalone: {error}", "failed")
            return used, []


@contextlib.contextmanager
def _running_standalone(home: Path) -> Iterator[tuple[psutil.Process, AirflowApi]]:
    ports = choose_ports({"api-server": 8080, "worker-logs": 8793, "trigger-logs": 8794}, lambda *_: None)
    url = f"http://127.0.0.1:{ports['api-server']}"
    variables = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__PORT": str(ports["api-server"]),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports["worker-logs"]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports["trigger-logs"]),
    }
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [Path(sys.prefix) / "bin" / "airflow", "standalone"],
            env={**clean_environment(), **variables}, cwd=home, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        passwords = home / "simple_auth_manager_passwords.json.generated"
        Patience(300).until(passwords.exists, lambda: "airflow standalone makes no password")
        api = AirflowApi(url, json.loads(passwords.read_text())["admin"])
        Patience(300).until(
            lambda: all(api.healthy().get(n) for n in ("scheduler", "dag_processor", "triggerer")),
            lambda: f"airflow standalone is not healthy, see {home / 'log'}",
        )
        yield psutil.Process(process.pid), api
    finally:
        _end(psutil.Process(process.pid))


def _end(root: psutil.Process) -> None:
    family = [root, *root.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(family, timeout=20)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
