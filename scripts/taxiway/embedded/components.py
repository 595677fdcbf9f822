"""The processes of the embedded target: what runs, in which order, how one knows it is ready."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taxiway.embedded.postgres import PostgresServer
from taxiway.environment.home import Home
from taxiway.environment.ports import USUAL
from taxiway.environment.secrets import READER_SECRET, TOKEN_SECRET

# Is in the database's folder if its migration failed.
FAILED = "migration-failed"
API_SERVER = "api-server"
WITH_DAGS = ("scheduler", "dag-processor", "triggerer")
AIRFLOW = (API_SERVER, *WITH_DAGS)
WATCHDOG = "watchdog"
# Mints tokens for tasks where their developer's own credentials are needed for that.
TOKENS = "google-tokens"
# What starts and ends the others, and is no component itself.
MANAGER = "process manager"
HEALTH_PATHS: Mapping[str, str] = {
    **dict.fromkeys(("gcs", "bigquery", "control-plane", "sample-source", TOKENS), "/healthz"),
    # Airflow builds the API that tasks use at its first request, which takes seconds: better the health
    # check's than a task's.
    API_SERVER: "/execution/health",
}
# Becomes a program with the variables of a JSON file: they stay in a private file instead of the process
# manager's configuration, and are read when the program starts, not when the manager does.
LAUNCH = (
    "import json, os, sys; program = sys.argv[2:]; "
    "os.execve(program[0], program, os.environ | json.load(open(sys.argv[1])))"
)


@dataclass(frozen=True)
class Component:
    """One supervised process. `url` is shown to the user, `health` is polled until it answers.

    `ports` are held by the process manager: the process shares them (`taxiway.environment.ports.listen`).
    """

    name: str
    command: list[str]
    url: str = ""
    health: str = ""
    stop_signal: str = "TERM"
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = ()


def components(home: Home, ports: Mapping[str, int]) -> list[Component]:
    """PostgreSQL, emulators, sample source, token server, Airflow's four processes, what watches them all."""
    # It imports the emulator's own libraries, and only `up` and `status` list the components.
    from taxiway.emulators.gcs import objects_root

    # The BigQuery emulator reads what it loads from the storage emulator's files, not through its API.
    lake = ("--lake-root", str(objects_root(home.data("gcs"))))
    grpc = ("--grpc-port", str(ports["bigquery-grpc"]))

    def served(name: str, command: list[str]) -> Component:
        url = f"http://127.0.0.1:{ports[name]}"
        shared = tuple(ports[one] for one in (name, f"{name}-grpc") if one in ports)
        return Component(name, command, url, url + HEALTH_PATHS[name], ports=shared)

    # Every local user can connect to the loopback; the file is for the environment's owner alone.
    guarded = ("--token-file", str(home.secrets / "emulator_token"))

    def emulator(name: str, module: str, *options: str) -> Component:
        port = ("--port", str(ports[name]))
        return served(name, [sys.executable, "-m", f"taxiway.emulators.{module}", *port, *options])

    def data(name: str) -> tuple[str, str]:
        return "--data", str(home.data(name))

    ports = {**USUAL, **ports}
    api_server = (sys.executable, "-m", "taxiway.embedded.api_server", str(migrated(home)), API_SERVER)
    tokens = ("--port", str(ports[TOKENS]), "--credentials", str(home.own_credentials))
    secret = ("--token-file", str(home.secrets / TOKEN_SECRET))
    reader = ("--reader-token-file", str(home.secrets / READER_SECRET))
    readers = ("--reader-credentials", str(home.reader_credentials))
    postgres = PostgresServer(home.data("postgres"), ports["postgres"]).command()
    return [
        # TERM would wait for every client to leave.
        Component(
            "postgres", postgres, f"postgresql://127.0.0.1:{ports['postgres']}/taxi", stop_signal="INT"
        ),
        emulator("gcs", "gcs", *data("gcs"), *guarded),
        emulator("bigquery", "bigquery", *data("bigquery"), *grpc, *lake, *guarded),
        emulator("control-plane", "iam", *data("control-plane"), *guarded),
        emulator("sample-source", "tlc_sample", "--cache", str(home.data("sample-source"))),
        served(TOKENS, [sys.executable, "-m", "taxiway.token_server", *tokens, *secret, *reader, *readers]),
        served(API_SERVER, _launched(home.api_environment, *api_server)),
        # Scheduler and triggerer serve logs to other machines, of which there are none. The scheduler's
        # workers are forks: what it has imported, no task imports again.
        Component(
            "scheduler",
            airflow_command(home, "scheduler", "--skip-serve-logs"),
            environment={"TAXIWAY_PRELOAD": "1"},
        ),
        Component("dag-processor", airflow_command(home, "dag-processor")),
        Component("triggerer", airflow_command(home, "triggerer", "--skip-serve-logs")),
        Component(WATCHDOG, [sys.executable, "-m", "taxiway.embedded.health", str(home.root)]),
    ]


def migrated(home: Home) -> Path:
    """Is there when Airflow's tables are those of the installed release."""
    return home.data("postgres") / f"airflow-{importlib.metadata.version('apache-airflow-core')}"


def airflow_command(home: Home, *arguments: str) -> list[str]:
    """Airflow's command line with the variables in `home.environment`."""
    return _launched(home.environment, str(Path(sys.prefix) / "bin" / "airflow"), *arguments)


def _launched(variables: Path, *program: str) -> list[str]:
    return [sys.executable, "-c", LAUNCH, str(variables), *program]


def launching(command: Sequence[str]) -> tuple[Path, Sequence[str]] | None:
    """The file of variables and the program that such a command becomes; None for any other command."""
    return (Path(command[3]), command[4:]) if command[1:3] == ["-c", LAUNCH] else None
