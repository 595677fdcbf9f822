"""The processes of the embedded target: what runs, in which order, how one knows it is ready."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taxiway.embedded.postgres import PostgresServer
from taxiway.environment.home import Home

API_SERVER = "api-server"
WITH_DAGS = ("scheduler", "dag-processor", "triggerer")
AIRFLOW = (API_SERVER, *WITH_DAGS)
# Becomes a program with the variables of a JSON file: they stay in a private file instead of the process
# manager's configuration, and are read when the program starts, not when the manager does.
_LAUNCH = (
    "import json, os, sys; program = sys.argv[2:]; "
    "os.execve(program[0], program, os.environ | json.load(open(sys.argv[1])))"
)


@dataclass(frozen=True)
class Component:
    """One supervised process. `url` is shown to the user, `health` is polled until it answers."""

    name: str
    command: list[str]
    url: str = ""
    health: str = ""
    stop_signal: str = "TERM"
    environment: Mapping[str, str] = field(default_factory=dict)


def services(home: Home, ports: Mapping[str, int]) -> list[Component]:
    """PostgreSQL, the emulators and the sample source."""
    # It imports the emulator's own libraries, and only `up` and `status` list the services.
    from taxiway.emulators.gcs import objects_root

    postgres = PostgresServer(home.data("postgres"), ports["postgres"])
    # The BigQuery emulator reads what it loads from the storage emulator's files, not through its API.
    lake = str(objects_root(home.data("gcs")))
    bigquery = ("--grpc-port", str(ports["bigquery-grpc"]), "--lake-root", lake)

    def emulator(name: str, module: str, *options: str) -> Component:
        url = f"http://127.0.0.1:{ports[name]}"
        command = [sys.executable, "-m", f"taxiway.emulators.{module}", "--port", str(ports[name]), *options]
        return Component(name, command, url, f"{url}/healthz")

    return [
        Component(
            "postgres",
            postgres.command(),
            f"postgresql://127.0.0.1:{ports['postgres']}/taxi",
            # TERM would wait for every client to leave.
            stop_signal="INT",
        ),
        emulator("gcs", "gcs", "--data", str(home.data("gcs"))),
        emulator("bigquery", "bigquery", "--data", str(home.data("bigquery")), *bigquery),
        emulator("control-plane", "iam", "--data", str(home.data("control-plane"))),
        emulator("sample-source", "tlc_sample", "--cache", str(home.data("sample-source"))),
    ]


def airflow(home: Home, ports: Mapping[str, int]) -> list[Component]:
    """Airflow's four processes, each started with the variables in a file of `home`."""
    url = f"http://127.0.0.1:{ports['api-server']}"
    api_server = _launched(home.api_environment, API_SERVER)
    # Its executor's workers are forks: what it has imported, no task imports again.
    preload = {"TAXIWAY_PRELOAD": "1"}
    return [
        # Airflow builds the API that tasks use at its first request, which takes seconds: better the
        # health check's than a task's.
        Component(API_SERVER, api_server, url, f"{url}/execution/health"),
        # Scheduler and triggerer serve logs to other machines, of which there are none.
        Component("scheduler", airflow_command(home, "scheduler", "--skip-serve-logs"), environment=preload),
        Component("dag-processor", airflow_command(home, "dag-processor")),
        Component("triggerer", airflow_command(home, "triggerer", "--skip-serve-logs")),
    ]


def airflow_command(home: Home, *arguments: str) -> list[str]:
    """Airflow's command line with the variables in `home.environment`."""
    return _launched(home.environment, *arguments)


def _launched(variables: Path, *arguments: str) -> list[str]:
    program = str(Path(sys.prefix) / "bin" / "airflow")
    return [sys.executable, "-c", _LAUNCH, str(variables), program, *arguments]
