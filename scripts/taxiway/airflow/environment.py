"""The variables every Airflow process of the embedded target gets."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from lakehouse.outputs import CONNECTION, PROJECT
from taxiway.environment.home import REPOSITORY, SAMPLE, Home, State
from taxiway.environment.secrets import EMULATOR_CREDENTIALS, REQUIRE_AUTH

# What a child of another program must not inherit: another Airflow's or another cloud's settings.
_FOREIGN = (
    "AIRFLOW_",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "GOOGLE_",
    "OPENLINEAGE_",
    "GCP_",
    "STORAGE_EMULATOR",
    "BIGQUERY_",
)
# What the platform's own processes, tasks among them, get of the user's shell, which may hold tokens: who one
# is, language and time, the way to the network, the library's limits (`elt.settings`). Whatever a DAG
# wants besides is an Airflow connection.
_INHERITED = re.compile(
    r"HOME|USER|LOGNAME|SHELL|PATH|LD_LIBRARY_PATH|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TERM|COLUMNS|NO_COLOR"
    r"|TAXI_(MAX_BYTES_BILLED|JOB_SECONDS|MAX_FILE_BYTES|DOWNLOAD_SECONDS)"
    r"|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|(REQUESTS_CA|CURL_CA)_BUNDLE"
)


def clean_environment() -> dict[str, str]:
    """The variables of this process without another Airflow's or cloud's, with .venv's programs first."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    return {
        **kept,
        # Airflow finds its own programs, and those of tasks, by name.
        "PATH": f"{Path(sys.prefix) / 'bin'}:{kept.get('PATH', '/usr/bin:/bin')}",
        # Every service is on the loopback, which a proxy of the user's cannot reach.
        "NO_PROXY": ",".join(filter(None, [kept.get("NO_PROXY"), "127.0.0.1,localhost"])),
    }


def child_environment() -> dict[str, str]:
    """The variables that the embedded platform's processes start with."""
    return {k: v for k, v in clean_environment().items() if _INHERITED.fullmatch(k)}


def airflow_environment(home: Home, state: State, outputs: Mapping[str, str]) -> dict[str, str]:
    """`outputs` of the stack plus what this machine decides: paths, ports, where secrets are."""

    def bundle(folder: str) -> dict[str, object]:
        paths = {"path": str(REPOSITORY / folder), "packages": str(REPOSITORY / "plugins")}
        return {"name": folder, "classpath": "elt.orchestration.bundles.DagFolder", "kwargs": paths}

    def cat(name: str) -> str:
        # Airflow reads each by a command: no secret in a process's environment.
        return shlex.join(["cat", str(home.secrets / name)])

    return {
        **outputs,
        **(google_connection(home.secrets / EMULATOR_CREDENTIALS, outputs) if state.emulated else {}),
        # Where Google's libraries and gcloud look for who is signed in on this machine: tasks find nobody.
        **({} if state.emulated else {"CLOUDSDK_CONFIG": str(home.root / "gcloud")}),
        # Whose tasks these are, for those that call a command.
        "TAXIWAY_STACK": home.stack,
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW_CONFIG": str(REPOSITORY / "airflow" / "airflow.cfg"),
        # It makes the scheduler's pauses, which without it would be none: the two belong together.
        "AIRFLOW__CORE__EXECUTOR": "elt.orchestration.executor.RestingLocalExecutor",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle("dags"), bundle("dags_local")]),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home.logs / "tasks"),
        "AIRFLOW__CORE__FERNET_KEY_CMD": cat("fernet_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET_CMD": cat("jwt_secret"),
        "AIRFLOW__API__SECRET_KEY_CMD": cat("api_secret"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": cat("metadata_dsn"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.secrets / "simple_auth_passwords.json"),
        **source_connection(state),
        # Airflow's own dependencies deprecate things; its users can do nothing about that.
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(state.ports["api-server"]),
        "AIRFLOW__API__BASE_URL": state.api_url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{state.api_url}/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(state.ports["worker-logs"]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(state.ports["trigger-logs"]),
        "AIRFLOW_CONN_TAXI_POSTGRES": postgres_connection(home, state.ports["postgres"]),
        # Tasks and server are of one release: airflow_local_settings.py need not build the API of nine.
        "TAXIWAY_SAME_RELEASE": "1",
        # The API server is started before there are outputs; its pages read them here.
        "TAXIWAY_ENVIRONMENT": str(home.pages_environment),
        "TAXI_SCHEDULE_START": state.schedule_start,
        **lineage(),
    }


def source_connection(state: State) -> dict[str, str]:
    """The connection to the source of the months, unless the datasets' own default (TLC's site) is meant."""
    sample = f"http://127.0.0.1:{state.ports.get('sample-source')}"
    url = {SAMPLE: sample, "tlc": ""}.get(state.source, state.source)
    return {"AIRFLOW_CONN_TAXI_SOURCE": json.dumps({"conn_type": "http", "host": url})} if url else {}


def google_connection(file: Path, outputs: Mapping[str, str]) -> dict[str, str]:
    """The connection to the emulators: `file` is the credential file with their token.

    It takes the place of the stack's own one, whatever its credentials are: emulators never get real ones.
    """
    if PROJECT not in outputs:
        return {}
    extra = {"project": outputs[PROJECT], "credential_config_file": str(file)}
    return {CONNECTION: json.dumps({"conn_type": "google_cloud_platform", "extra": extra})}


def postgres_connection(home: Home, port: int) -> str:
    """The connection to the taxi database. libpq reads the password from a private file, nobody else does."""
    extra = {"passfile": str(home.secrets / "pgpass"), "require_auth": REQUIRE_AUTH}
    where = {"host": "127.0.0.1", "port": port, "schema": "taxi", "login": "taxi"}
    return json.dumps({"conn_type": "postgres", **where, "extra": extra})


def lineage() -> dict[str, str]:
    """Where OpenLineage events go, if the user's shell says so; Airflow sends none otherwise."""
    url = os.environ.get("OPENLINEAGE_URL")
    return {"OPENLINEAGE_URL": url} if url else {}
