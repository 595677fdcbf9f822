"""What the verbs need on this side of the published ports: passwords, and the settings of the stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taxiway.compose.project import Project
from taxiway.environment.home import Home, write_atomically

SECRETS: Mapping[str, tuple[str, str]] = {
    "admin_password": ("airflow-api-server", "/run/taxiway/admin/admin_password"),
    "flower_password": ("flower", "/run/taxiway/flower/flower_password"),
    "taxi_database_password": ("taxi-postgres", "/run/taxiway/taxi/password"),
}
"""Name of the private file, service that can read the original, the original's path there."""

SAME = ("GCP_PROJECT_ID", "GCP_GCS_BUCKET", "GCP_LOCATION", "BIGQUERY_DATASET", "TLC_BASE_URL")
"""Variables that mean the same inside and outside."""


def take_secrets(project: Project, home: Home, ports: Mapping[str, int]) -> None:
    """Copy what the user is shown and the verbs use, each into a file of mode 0600."""
    for name, (service, file) in SECRETS.items():
        write_atomically(home.secrets / name, project.read(service, file).strip())
    password = (home.secrets / "taxi_database_password").read_text()
    write_atomically(home.secrets / "pgpass", f"127.0.0.1:{ports['postgres']}:taxi:taxi:{password}\n")


def environment(config: Mapping[str, Any], home: Home, ports: Mapping[str, int]) -> dict[str, str]:
    """What the workers are told by `docker compose config`, as it is seen from here."""
    told: Mapping[str, str] = config["services"]["airflow-worker"]["environment"]
    seen = {name: told[name] for name in SAME if told.get(name)}
    for name, component in (("STORAGE_EMULATOR_HOST", "gcs"), ("BIGQUERY_EMULATOR_HOST", "bigquery")):
        if told.get(name) and not told.get("EMULATORS_OFF"):
            seen[name] = f"http://127.0.0.1:{ports[component]}"
    if told.get("GOOGLE_APPLICATION_CREDENTIALS"):
        seen["GOOGLE_APPLICATION_CREDENTIALS"] = config["secrets"]["google_credentials"]["file"]
    where = f"host=127.0.0.1 port={ports['postgres']} dbname=taxi user=taxi"
    return {**seen, "TAXI_POSTGRES_DSN": f"{where} passfile='{home.secrets / 'pgpass'}'"}
