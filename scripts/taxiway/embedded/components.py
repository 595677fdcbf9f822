"""The processes of the embedded target: what runs, in which order, how one knows it is ready."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taxiway.embedded.postgres import PostgresServer
from taxiway.environment.paths import Home

EMULATORS = ("gcs", "bigquery", "control-plane")
API_SERVER = "api-server"
# Where a component's module has another name.
_MODULES = {"control-plane": "iam", "sample-source": "tlc_sample"}
WITH_DAGS = ("scheduler", "dag-processor", "triggerer")
AIRFLOW = (API_SERVER, *WITH_DAGS)


@dataclass(frozen=True)
class Component:
    """One supervised process. `url` is shown to the user, `health` asked until it answers."""

    name: str
    command: list[str]
    url: str = ""
    health: str = ""
    stop_signal: str = "TERM"
    environment: Mapping[str, str] = field(default_factory=dict)


def services(home: Home, ports: Mapping[str, int]) -> list[Component]:
    """PostgreSQL, the emulators and the sample source."""
    postgres = PostgresServer(home.data("postgres"), ports["postgres"])
    return [
        Component(
            "postgres",
            postgres.command(),
            f"postgresql://127.0.0.1:{ports['postgres']}/taxi",
            stop_signal="INT",
        ),
        _emulator("gcs", ports["gcs"], "--data", str(home.data("gcs"))),
        _emulator(
            "bigquery", ports["bigquery"], "--grpc-port", str(ports["bigquery-grpc"]),
            "--data", str(home.data("bigquery")), "--lake-root", str(_lake_root(home)),
        ),
        _emulator("control-plane", ports["control-plane"], "--data", str(home.data("control-plane"))),
        _emulator("sample-source", ports["sample-source"], "--cache", str(home.data("sample-source"))),
    ]  # fmt: skip


def _emulator(name: str, port: int, *options: str) -> Component:
    url = f"http://127.0.0.1:{port}"
    module = f"taxiway.emulators.{_MODULES.get(name, name)}"
    return Component(
        name,
        [sys.executable, "-m", module, "--port", str(port), *options],
        url,
        f"{url}/healthz",
    )


def _lake_root(home: Home) -> Path:
    from taxiway.emulators.gcs import objects_root

    return objects_root(home.data("gcs"))


def airflow(home: Home, ports: Mapping[str, int]) -> list[Component]:
    """Airflow's four processes, each started with the variables in a file of `home`."""
    url = f"http://127.0.0.1:{ports['api-server']}"
    return [
        # The part that tasks talk to is built at its first request, in seconds: asked before a task.
        Component(API_SERVER, _launched(home.api_environment, API_SERVER), url, f"{url}/execution/health"),
        # Its executor's workers are forks: what it has imported, no task imports again.
        _airflow(home, "scheduler", "--skip-serve-logs", environment={"TAXIWAY_PRELOAD": "1"}),
        _airflow(home, "dag-processor"),
        _airflow(home, "triggerer", "--skip-serve-logs"),
    ]


def _airflow(home: Home, name: str, *options: str, environment: Mapping[str, str] | None = None) -> Component:
    return Component(name, airflow_command(home, name, *options), environment=dict(environment or {}))


def airflow_command(home: Home, *arguments: str) -> list[str]:
    """Airflow's command line with the variables in `home.environment`."""
    return _launched(home.environment, *arguments)


def _launched(variables: Path, *arguments: str) -> list[str]:
    launch = str(Path(__file__).parent / "launch.py")
    program = str(Path(sys.prefix) / "bin" / "airflow")
    return [sys.executable, launch, str(variables), program, *arguments]
