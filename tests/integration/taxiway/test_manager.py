"""The process manager with Airflow imported: what is a fork of it, and what is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from repository import REPOSITORY

from stacks import free_port
from taxiway.embedded.components import LAUNCH, Component
from taxiway.embedded.supervisor import Supervisor
from taxiway.environment import secrets
from taxiway.environment.home import Home, private_folder, write_json

# Stands for a part of Airflow: it says what it finds, and waits.
PROBE = """
import json, os, signal, sys, warnings

def main():
    warnings.warn("of a task")
    signals = ["SIGTERM", "SIGHUP", "SIGCHLD"]
    print(json.dumps({
        "pid": os.getpid(),
        "imported": "airflow.jobs.scheduler_job_runner" in sys.modules,
        "variables": dict(os.environ),
        "files": [int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)],
        "signals": [signal.getsignal(getattr(signal, name)) == signal.SIG_DFL for name in signals],
        "words": sys.argv[1:],
        "mask": os.umask(0o077),
    }), flush=True)
    signal.pause()

if __name__ == "__main__":
    main()
"""
PARTS = ("first", "second", "other")


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    home = Home.of("local", tmp_path_factory.mktemp("manager"))
    secrets.generate(home.secrets)
    variables = {
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW_CONFIG": str(REPOSITORY / "airflow" / "airflow.cfg"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.root}/airflow.db",
    }
    components = []
    for name in PARTS:
        file, folder = home.root / f"{name}.json", private_folder(home.root / "run" / name)
        write_json(file, {**variables, "AIRFLOW_CONN_OWN": name, "OWN": name})
        (folder / "probe.py").write_text(PROBE)
        words = [sys.executable, "-m", "probe", name]
        components.append(Component(name, [sys.executable, "-c", LAUNCH, str(file), *words]))
    # What Airflow reads while it is imported is another thing here.
    write_json(home.root / "other.json", {**variables, "AIRFLOW__CORE__PARALLELISM": "3"})
    (private_folder(home.root / "run" / "server") / "probe.py").write_text(PROBE)
    (home.root / "probe.py").write_text(PROBE)
    components.append(Component("server", [sys.executable, "-m", "probe"]))
    made = Supervisor(home, free_port())
    made.start(components)
    # It is ready for others at once.
    assert made.imports()
    made.start_component("server")
    until(lambda: not made.imports())
    yield made
    made.end_strays()


def test_who_becomes_airflow_stays_the_process_that_a_debugger_has(tmp_path: Path) -> None:
    words = ["airflow", "config", "get-value", "core", "parallelism"]
    script = f"from taxiway.embedded.manager import become; become({words}, dict(__import__('os').environ))"
    own = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__PARALLELISM": "3"}
    done = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, **own}
    )
    assert done.communicate(timeout=120)[0].split()[-1] == "3"
    assert done.returncode == 0


def said(supervisor: Supervisor, name: str) -> list[dict[str, Any]]:
    """What a part said each time that it was started."""
    log = supervisor.home.logs / f"{name}.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.startswith('{"pid"')]


def started(supervisor: Supervisor, name: str) -> dict[str, Any]:
    count = len(said(supervisor, name))
    supervisor.start_component(name)
    found: list[dict[str, Any]] = until(lambda: said(supervisor, name)[count:])
    return found[0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each part is a program of its own")
def test_a_part_of_airflow_is_a_fork_with_everything_imported(supervisor: Supervisor) -> None:
    found = started(supervisor, "first")
    process = psutil.Process(found["pid"])
    assert found["imported"], found
    assert process.ppid() == supervisor.pid()
    assert process.cmdline()[0].split() == ["airflow", "first"]
    assert Path(process.cwd()).name == "first"
    # As a program would find it: variables, no files but its own, signals, words.
    assert {"OWN": "first", "AIRFLOW_CONN_OWN": "first"}.items() <= found["variables"].items()
    assert "_AIRFLOW__AS_LIBRARY" not in found["variables"]
    assert found["files"] == [0, 1, 2]
    assert found["signals"] == [True] * 3
    assert found["words"] == ["first"]
    assert found["mask"] == 0o077
    assert "of a task" in (supervisor.home.logs / "first.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each part is a program of its own")
def test_a_part_that_was_killed_is_a_fork_again(supervisor: Supervisor) -> None:
    before = started(supervisor, "second")
    os.kill(before["pid"], signal.SIGKILL)
    after = until(lambda: said(supervisor, "second")[1:])[0]
    assert after["pid"] != before["pid"]
    assert after["imported"]
    supervisor.stop_components(["second"])
    assert not psutil.pid_exists(after["pid"])


def test_a_part_with_other_settings_imports_by_itself(supervisor: Supervisor) -> None:
    found = started(supervisor, "other")
    assert not found["imported"]
    assert found["variables"]["AIRFLOW__CORE__PARALLELISM"] == "3"


def test_who_is_no_part_of_airflow_gets_none_of_its_variables(supervisor: Supervisor) -> None:
    found = until(lambda: said(supervisor, "server"))[0]
    assert not found["imported"]
    assert [name for name in found["variables"] if "AIRFLOW" in name] == []


def test_forks_that_outlive_the_manager_are_found(supervisor: Supervisor) -> None:
    supervisor.start_component("first")
    until(lambda: supervisor.states()["first"] == "RUNNING")
    psutil.Process(supervisor.pid()).kill()
    until(lambda: supervisor.pid() is None)
    assert {"first", "server"} <= supervisor.survivors()
    supervisor.end_strays()
    assert supervisor.survivors() == set()
