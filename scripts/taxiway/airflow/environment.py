"""The variables every Airflow process of the embedded target gets."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from taxiway.environment.paths import REPOSITORY, Home

# A child must not inherit another Airflow's or another cloud's settings from the user's shell.
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


def clean_environment() -> dict[str, str]:
    """The variables of this process without what would leak into Airflow, with .venv's programs first."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    return {
        **kept,
        "PATH": f"{Path(sys.prefix) / 'bin'}:{kept.get('PATH', '/usr/bin:/bin')}",
        "NO_PROXY": ",".join(filter(None, [kept.get("NO_PROXY"), "127.0.0.1,localhost"])),
    }


def airflow_environment(
    home: Home, ports: Mapping[str, int], outputs: Mapping[str, str], source_url: str, schedule_start: str
) -> dict[str, str]:
    """`outputs` of the stack plus what this machine decides: paths, ports, where secrets are."""
    api = f"http://127.0.0.1:{ports['api-server']}"
    dsn = (
        f"host=127.0.0.1 port={ports['postgres']} dbname=taxi user=taxi passfile='{home.secrets / 'pgpass'}'"
    )
    return {
        **outputs,
        **_paths(home),
        **_secrets(home),
        # Airflow's own dependencies deprecate things; its users can do nothing about that.
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ports["api-server"]),
        "AIRFLOW__API__BASE_URL": api,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{api}/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports["worker-logs"]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports["trigger-logs"]),
        "TAXIWAY_SAME_RELEASE": "1",
        "TLC_BASE_URL": source_url,
        "TAXI_POSTGRES_DSN": dsn,
        "TAXI_SCHEDULE_START": schedule_start,
        **lineage(),
    }


def lineage() -> dict[str, str]:
    """Where OpenLineage events go, if the user's shell says so; Airflow sends none otherwise."""
    url = os.environ.get("OPENLINEAGE_URL")
    return {"OPENLINEAGE_URL": url} if url else {}


def _paths(home: Home) -> dict[str, str]:
    bundles = [_bundle("dags"), _bundle("dags_local")]
    return {
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW_CONFIG": str(REPOSITORY / "airflow" / "airflow.cfg"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home.logs / "tasks"),
    }


def _bundle(folder: str) -> dict[str, object]:
    return {
        "name": folder,
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(REPOSITORY / folder)},
    }


def _secrets(home: Home) -> dict[str, str]:
    """Airflow reads each by a command: no secret in a process's environment."""

    def cat(name: str) -> str:
        return shlex.join(["cat", str(home.secrets / name)])

    return {
        "AIRFLOW__CORE__FERNET_KEY_CMD": cat("fernet_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET_CMD": cat("jwt_secret"),
        "AIRFLOW__API__SECRET_KEY_CMD": cat("api_secret"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": cat("metadata_dsn"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.secrets / "simple_auth_passwords.json"),
    }
