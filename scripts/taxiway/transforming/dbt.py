"""Install dbt when it is first asked for, and describe a stack to it by variables that profiles.yml reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from elt.connection_fields import ConnectionFields, postgres_parameters
from elt.connections import GOOGLE, POSTGRES, EnvironmentConnections, fields_in
from taxiway.compose.on_demand import OnDemand, the_one
from taxiway.compose.packages import Uv
from taxiway.environment.home import REPOSITORY, private_folder
from taxiway.errors import UsageError

LOCKED = Path(__file__).with_name("requirements.txt")
DBT = OnDemand("dbt", LOCKED, there="bin/dbt", megabytes=450)
# libpq's own variables, but for a password: of those libpq takes a file's alone where dbt gives it none.
POSTGRES_VARIABLES = {
    "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE",
    "password": "DBT_ENV_SECRET_PASSWORD", "passfile": "PGPASSFILE", "require_auth": "PGREQUIREAUTH",
    "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
}  # fmt: skip


def program(folder: Path | None = None, uv: Uv | None = None) -> Path:
    """The dbt of the locked packages in `folder`, installed if need be; TaxiwayError if it cannot be."""
    return DBT.installed(folder, uv) / DBT.there


def project(checkout: Path = REPOSITORY) -> Path:
    """The folder of the one dbt project below plugins/; UsageError where there is none, or more than one."""
    if named := os.environ.get("DBT_PROJECT_DIR"):
        return Path(named).resolve()
    found = sorted(file.parent for file in checkout.glob("plugins/*/dbt/dbt_project.yml"))
    remedy = "Name its folder: DBT_PROJECT_DIR=plugins/NAME/dbt scripts/dbt build"
    if not found:
        remedy = "docs/dbt.md shows how to begin one."
    return the_one("dbt project", "plugins/*/dbt", found, checkout, remedy)


def variables(connections: EnvironmentConnections, token: str, home: Path, folder: Path) -> dict[str, str]:
    """What profiles.yml and dbt itself read; `token` is the emulator's, dbt writes below `home`."""
    given, settings = connections.variables, connections.settings
    emulator = given.get("BIGQUERY_EMULATOR_HOST", "")
    written = private_folder(home / "dbt")
    found = {
        "TAXIWAY_DBT_TARGET": "emulator" if emulator else "google",
        "TAXIWAY_DBT_PROJECT": connections.project,
        "BIGQUERY_DATASET": settings.dataset,
        "GCP_LOCATION": settings.location,
        "DBT_PROJECT_DIR": str(folder),
        "DBT_PROFILES_DIR": str(LOCKED.parent),
        "DBT_TARGET_PATH": str(written / "target"),
        "DBT_LOG_PATH": str(written / "logs"),
    }
    if limit := given.get("TAXI_MAX_BYTES_BILLED"):
        found["TAXI_MAX_BYTES_BILLED"] = limit
    # dbt takes what is called so for a secret: it is in no log.
    found |= (
        {"BIGQUERY_EMULATOR_HOST": emulator, "DBT_ENV_SECRET_TOKEN": token} if emulator else _google(given)
    )
    return found | _postgres(given)


def _google(given: Mapping[str, str]) -> dict[str, str]:
    """The credentials of the connection, as `elt.connections` chooses them."""
    google = fields_in(given, GOOGLE) or ConnectionFields()
    path = google.extra.get("key_path") or given.get("GOOGLE_APPLICATION_CREDENTIALS")
    names = google.impersonated()
    if len(names) > 1:
        raise UsageError(
            f"dbt impersonates one service account, not a chain of {len(names)} ({', '.join(names)})",
            f"Let the connection {GOOGLE} name the last one alone.",
        )
    found = {"GOOGLE_APPLICATION_CREDENTIALS": str(path)} if path else {}
    return found | ({"TAXIWAY_DBT_IMPERSONATE": names[0]} if names else {})


def _postgres(given: Mapping[str, str]) -> dict[str, str]:
    found = fields_in(given, POSTGRES)
    reached = postgres_parameters(found) if found else {}
    return {
        POSTGRES_VARIABLES[name]: str(value) for name, value in reached.items() if name in POSTGRES_VARIABLES
    }
