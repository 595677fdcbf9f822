"""The platform as containers, for tests: a checkout of its own, `docker compose` in it as a user types it."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from repository import copy_working_tree

from elt.connections import EnvironmentConnections
from lakehouse.names import Names
from taxiway.airflow.client import AirflowApi
from taxiway.airflow.environment import google_connection
from taxiway.compose import variables
from taxiway.compose.project import Docker
from taxiway.environment.home import write_atomically
from taxiway.errors import PreflightError
from taxiway.infrastructure import LOCAL_CONFIG

# Whoever cloned the repository, where the tests run as root.
USER = 12345
SLOW_DAG = '''
"""A task that takes long at its first try: somebody will kill its worker."""
from datetime import timedelta
import time
from airflow.sdk import DAG, get_current_context, task

with DAG("slow", schedule=None, doc_md=__doc__):
    @task(retries=3, retry_delay=timedelta(seconds=1))
    def wait() -> None:
        if get_current_context()["ti"].try_number == 1:
            time.sleep(600)
    wait()
'''
FOREIGN = ("AIRFLOW_", "COMPOSE_", "GCP_", "GOOGLE_", "TAXIWAY_", "BIGQUERY_", "STORAGE_")


def require_docker() -> None:
    """Return if containers can be run here; fail, and say what is missing, if they cannot."""
    if reason := _unavailable():
        pytest.fail(f"scripts/test --docker cannot run containers here: {reason}", pytrace=False)


@cache
def _unavailable() -> str:
    try:
        Docker().check()
    except PreflightError as error:
        return f"{error}. {error.remedy}"
    return ""


@dataclass(frozen=True)
class Stack:
    """One Compose project in `folder`, on free ports."""

    folder: Path
    variables: dict[str, str] = field(default_factory=lambda: free_ports())

    def compose(self, *arguments: str, code: int | None = 0, seconds: float = 600) -> str:
        """Output of `docker compose ARGUMENTS`; fails unless it exits with `code` (None: with any)."""
        command = ["docker", "compose", "--ansi", "never", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=seconds
        )
        output = done.stdout + done.stderr
        assert code in (None, done.returncode), f"{command} exited with {done.returncode}\n{output[-3000:]}"
        return done.stdout if code == 0 else output

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        return {**kept, **self.variables}

    def up(self) -> None:
        """`docker compose up`, nothing more; notes how long building, starting and loading took."""
        label = f"label=com.docker.compose.project={self.name}"
        kinds = ("--filter", "type=container", "--filter", "event=create", "--filter", "event=health_status")
        watch = ["docker", "events", "--filter", label, *kinds, "--format", "{{.TimeNano}} {{.Status}}"]
        begun = time.time()
        with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as events:
            try:
                self.compose("up", "--detach", "--wait", seconds=1500)
            except AssertionError as error:
                states, logs = (
                    self.compose("ps", "--all", code=None),
                    self.compose("logs", "--tail", "15", code=None),
                )
                pytest.fail(f"{error}\n{states}\n{logs}", pytrace=False)
            finally:
                events.terminate()
            seen = [line.split(maxsplit=1) for line in events.stdout or ()]
        done = time.time()
        built = min(int(moment) / 1e9 for moment, what in seen if "create" in what)
        healthy = max(int(moment) / 1e9 for moment, what in seen if what.strip() == "health_status: healthy")
        note(f"{self.name}: images are built", built - begun, "s")
        note(f"{self.name}: from then until all services are healthy", healthy - built, "s")
        note(f"{self.name}: from then until the loader is done", done - healthy, "s")

    @cached_property
    def name(self) -> str:
        return str(json.loads(self.compose("config", "--format", "json"))["name"])

    @property
    def services(self) -> dict[str, Any]:
        services: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))["services"]
        return services

    def containers(self, service: str = "") -> list[str]:
        """Ids of the project's containers, those that have ended included."""
        return self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()

    def inspect(self) -> dict[str, dict[str, Any]]:
        """What docker reports of each container, by its name without the project's."""
        found = subprocess.run(
            ["docker", "inspect", *self.containers()], capture_output=True, text=True, check=True, timeout=60
        )
        return {entry["Name"].removeprefix(f"/{self.name}-"): entry for entry in json.loads(found.stdout)}

    def read(self, service: str, file: str) -> str:
        return self.compose("exec", "-T", service, "cat", file).strip()

    def logs(self, service: str = "") -> str:
        return self.compose("logs", "--no-color", "--no-log-prefix", *([service] if service else [])).replace(
            "\x1b[2K", ""
        )

    @property
    def api(self) -> AirflowApi:
        password = self.read("airflow-api-server", "/run/taxiway/admin/admin_password")
        return AirflowApi(f"http://127.0.0.1:{self.variables['AIRFLOW_PORT']}", password)

    @property
    def connections(self) -> EnvironmentConnections:
        """The stores, as they are reached from here; the source as the workers name it."""
        project = LOCAL_CONFIG["taxiway:project"]
        names, port = Names.of(project, "local"), self.variables
        password = self.read("taxi-postgres", "/run/taxiway/taxi/password")
        taxi = {
            "conn_type": "postgres", "host": "127.0.0.1", "port": port["TAXI_POSTGRES_PORT"],
            "schema": "taxi", "login": "taxi", "password": password,
        }  # fmt: skip
        token = self.folder / "emulator_credentials.json"
        write_atomically(token, self.read("airflow-triggerer", variables.CREDENTIALS))
        google = google_connection(token, {"GCP_PROJECT_ID": project})
        return EnvironmentConnections(
            {
                **google,
                "GCP_PROJECT_ID": project,
                "GCP_GCS_BUCKET": names.bucket,
                "BIGQUERY_DATASET": names.dataset,
                "GCP_LOCATION": "US",
                "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port['GCS_PORT']}",
                "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port['BIGQUERY_PORT']}",
                variables.SOURCE: "http://sample-source:9080",
                variables.POSTGRES: json.dumps(taxi),
            }
        )

    def left(self) -> list[str]:
        """What docker still has of the project."""
        chosen = ("-q", "--filter", f"label=com.docker.compose.project={self.name}")
        kinds = (("container", "ls", "--all"), ("volume", "ls"), ("network", "ls"))
        return [word for kind in kinds for word in docker(*kind, *chosen).split()]


def docker(*arguments: str) -> str:
    """What `docker ARGUMENTS` prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=300)
    return done.stdout + done.stderr


def fresh_clone(name: str) -> Path:
    """A copy of the working tree in a folder that anybody may enter, its owner no more than a user."""
    folder = Path(tempfile.mkdtemp(prefix=f"taxiway-{name}-"))
    folder.chmod(0o755)
    # Not sooner: the next stack is built from the same layers.
    atexit.register(remove_images, folder.name)
    copy_working_tree(folder)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.lchown(path, USER, USER)
    return folder


def remove_images(tag: str) -> None:
    """Remove what was built for a project."""
    for image in (f"taxiway-airflow:{tag}", f"taxiway-local:{tag}"):
        subprocess.run(["docker", "image", "rm", "--force", image], capture_output=True, timeout=300)


def as_its_owner(*command: str) -> None:
    """Run a command as the owner of a `fresh_clone`."""
    drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    subprocess.run([*drop, *command], check=True, cwd="/")


def free_ports() -> dict[str, str]:
    """A free port of the loopback for each variable that publishes one."""
    names = [*variables.PORTS.values()]
    probes = [socket.socket() for _ in names]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = {name: str(probe.getsockname()[1]) for name, probe in zip(names, probes, strict=True)}
    for probe in probes:
        probe.close()
    return ports


def eventually(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Seconds until `condition` held; fails the test where it does not in time."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)
    return time.monotonic() - begun


MEASURED: list[str] = []
"""What pytest shows at the end (tests/conftest.py)."""


def timed(what: str, work: Callable[[], object]) -> None:
    """Do `work`, and note how long it took."""
    begun = time.monotonic()
    work()
    note(what, time.monotonic() - begun, "s")


def note(what: str, figure: float, unit: str) -> None:
    """Note a figure."""
    MEASURED.append(f"{figure:8.1f} {unit:3}  {what}")
