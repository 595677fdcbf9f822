"""A real Airflow as processes, with LocalExecutor: api-server, scheduler, triggerer, DAG processor.

On a PostgreSQL of its own, with one folder of DAGs. What is killed stays dead until it is started again.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
import requests
from emulators import free_port
from repository import REPOSITORY

from stacks import PASSWORD, postgres_running

COMPONENTS = ("api-server", "scheduler", "triggerer", "dag-processor")
FINAL = ("success", "failed")
Json = dict[str, Any]
T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 120, pause: float = 0.2, what: str = "it") -> T:
    """Return what `condition` returns once it is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(pause)
    return found


@dataclass
class LocalAirflow:
    """Airflow's four processes; `variables` is the environment that all of them have."""

    folder: Path
    dags: Path
    port: int
    variables: Mapping[str, str]
    python: Path = Path(sys.executable)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _session: requests.Session = field(default_factory=requests.Session)

    # Processes

    def start(self, *names: str) -> None:
        """Start components (all, where none is named) and wait until Airflow calls them healthy."""
        chosen = names or COMPONENTS
        for name in chosen:
            with (self.folder / f"{name}.log").open("ab") as log:
                options = ["--skip-serve-logs"] if name in ("scheduler", "triggerer") else []
                command = [self.python.parent / "airflow", name, *options]
                # A session of its own: a component is killed with all that it has forked.
                self._processes[name] = subprocess.Popen(
                    command, stdout=log, stderr=log, env=dict(self.variables), start_new_session=True
                )
        if names == ():
            until(self.is_healthy, 180, what="a healthy Airflow")

    def is_healthy(self) -> bool:
        """Whether all components report so."""
        for name, process in self._processes.items():
            assert process.poll() is None, f"{name} ended:\n{self.log(name)[-3000:]}"
        try:
            answer = requests.get(f"{self.url}/monitor/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        parts = ("scheduler", "dag_processor", "triggerer", "metadatabase")
        return all(answer[part]["status"] == "healthy" for part in parts)

    def kill(self, name: str) -> None:
        """End a component and all that it has forked, as a power cut would."""
        parent = psutil.Process(self._processes.pop(name).pid)
        doomed = [parent, *parent.children(recursive=True)]
        for process in doomed:
            process.suspend()
        for process in doomed:
            process.kill()
        psutil.wait_procs(doomed, timeout=10)

    def stop(self) -> None:
        """End everything that runs."""
        for name in list(self._processes):
            self.kill(name)

    def log(self, name: str) -> str:
        """All that a component has logged."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def task_processes(self) -> list[psutil.Process]:
        """Processes in which tasks run now: forks of LocalExecutor's workers, named after task instances."""
        found = []
        for process in psutil.Process(self._processes["scheduler"].pid).children(recursive=True):
            with suppress(psutil.Error):
                title = " ".join(process.cmdline())
                if title.startswith("airflow worker -- ") and "LocalExecutor" not in title:
                    found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """LocalExecutor's workers, forks of the scheduler."""
        return psutil.Process(self._processes["scheduler"].pid).children()

    # API

    @property
    def url(self) -> str:
        """Base URL of the REST API."""
        return f"http://127.0.0.1:{self.port}/api/v2"

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call the REST API as its administrator."""
        if "Authorization" not in self._session.headers:
            token = requests.get(f"http://127.0.0.1:{self.port}/auth/token", timeout=30).json()
            self._session.headers["Authorization"] = f"Bearer {token['access_token']}"
        response = self._session.request(method, f"{self.url}{path}", timeout=60, **options)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text[:500]}"
        return response.json() if response.content else None

    def create_pools(self) -> None:
        """Create the product's pools."""
        from elt.orchestration.pools import POOLS

        for name, pool in POOLS.items():
            body = {"name": name, "slots": pool.slots, "include_deferred": pool.include_deferred}
            self.call("POST", "/pools", json=body)

    def set_connection(self, connection: str, **fields: Any) -> None:
        """Create a connection in Airflow's database, or change it, as a user does."""
        extra = json.dumps(fields.pop("extra", {}))
        body = {"connection_id": connection, "extra": extra, **fields}
        known = self.call("GET", "/connections", params={"connection_id_pattern": connection})
        if known["total_entries"]:
            self.call("PATCH", f"/connections/{connection}", json=body)
        else:
            self.call("POST", "/connections", json=body)

    def open_dags(self, *dag_ids: str) -> None:
        """Wait until the DAGs are parsed, then let them run."""

        def parsed() -> bool:
            errors = self.call("GET", "/importErrors")["import_errors"]
            assert not errors, errors[0]["stack_trace"]
            found = self.call("GET", "/dags", params={"limit": 100})["dags"]
            return set(dag_ids) <= {dag["dag_id"] for dag in found}

        until(parsed, what=f"the DAGs {dag_ids}")
        for dag_id in dag_ids:
            self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, month: str | None = None, conf: Mapping[str, Any] = {}) -> str:
        """Start a run; returns its id."""
        body = {"logical_date": None, "partition_key": month, "conf": dict(conf)}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run."""
        return str(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task as failed or succeeded, as a user does."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.call("PATCH", path, json={"new_state": state})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task, as a user does: it runs again."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False}
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def end_of(self, dag_id: str, run_id: str, seconds: float = 180) -> str:
        """Wait for a run's end; returns its state."""
        until(lambda: self.run_state(dag_id, run_id) in FINAL, seconds, what=f"the end of {dag_id}")
        return self.run_state(dag_id, run_id)

    def tasks(self, dag_id: str, run_id: str, **criteria: Any) -> list[Json]:
        """Task instances of a run."""
        path, found = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", list[Json]()
        while True:
            page = self.call("GET", path, params={"limit": 500, "offset": len(found), **criteria})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def task(self, dag_id: str, run_id: str, task_id: str) -> Json:
        """A task instance of a run."""
        return next(task for task in self.tasks(dag_id, run_id) if task["task_id"] == task_id)

    def until_state(self, dag_id: str, run_id: str, task_id: str, *states: str, seconds: float = 120) -> Json:
        """Wait until a task is in one of some states; returns its instance."""

        def found() -> Json | None:
            task = self.task(dag_id, run_id, task_id)
            return task if task["state"] in states else None

        found_now = until(found, seconds, what=f"{dag_id}.{task_id} {states}")
        assert found_now is not None
        return found_now

    def error_of(self, dag_id: str, run_id: str, task_id: str, attempt: int) -> str:
        """The sentence that a task's attempt ended with; empty where it ended well."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        content = self.call("GET", path, params={"full_content": True})["content"]
        details = [
            entry["error_detail"]
            for entry in content
            if isinstance(entry, dict) and entry.get("error_detail")
        ]
        return str(details[-1][0]["exc_value"]) if details else ""

    def events(self, event: str) -> list[Json]:
        """Entries of Airflow's own log of events, such as "state mismatch"."""
        params = {"event": event, "limit": 500}
        return list(self.call("GET", "/eventLogs", params=params)["event_logs"])


def environment(
    folder: Path, dags: Path, port: int, database: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """The variables of such an Airflow: nothing of the shell's own Airflow or Google gets in."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    api = f"http://127.0.0.1:{port}"
    return {
        **kept,
        "PYTHONWARNINGS": "ignore",
        "NO_PROXY": "127.0.0.1,localhost",
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW_CONFIG": str(REPOSITORY / "airflow" / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTOR": "elt.orchestration.executor.RestingLocalExecutor",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{api}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": api,
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [
                {
                    "name": "dags",
                    "classpath": "elt.orchestration.bundles.DagFolder",
                    "kwargs": {"path": str(dags), "packages": str(REPOSITORY / "plugins")},
                }
            ]
        ),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        # A dead triggerer is replaced, and a dead worker noticed, within seconds.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "TAXIWAY_PRELOAD": "1",
        "TAXIWAY_SAME_RELEASE": "1",
        **extra,
    }


@contextmanager
def running(folder: Path, dags: Path, extra: Mapping[str, str]) -> Iterator[LocalAirflow]:
    """Run one on a PostgreSQL of its own; everything is killed at the end."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres_running(folder))
        with psycopg.connect(
            server.conninfo("postgres", PASSWORD, "postgres"), autocommit=True
        ) as connection:
            connection.execute("CREATE DATABASE airflow")
        database = f"postgresql+psycopg2://postgres:{PASSWORD}@127.0.0.1:{server.port}/airflow"
        port = free_port()
        variables = environment(folder, dags, port, database, extra)
        airflow = LocalAirflow(folder, dags, port, variables)
        subprocess.run(
            [airflow.python.parent / "airflow", "db", "migrate"],
            env=variables, check=True, capture_output=True, timeout=180,
        )  # fmt: skip
        stack.callback(airflow.stop)
        airflow.start()
        yield airflow
