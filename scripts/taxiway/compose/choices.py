"""What the compose target decides before it starts: project name, ports, user. Remembered in `.taxiway/`."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from taxiway import ports
from taxiway.compose.docker import docker

# The image's own user, for whoever may not be imitated: root, and hosts whose mounts have no uids.
IMAGE_UID = 50000

VARIABLES: Mapping[str, str] = {
    "api-server": "AIRFLOW_PORT",
    "flower": "FLOWER_PORT",
    "postgres": "TAXI_POSTGRES_PORT",
    "gcs": "GCS_PORT",
    "bigquery": "BIGQUERY_PORT",
    "bigquery-grpc": "BIGQUERY_GRPC_PORT",
    "control-plane": "CONTROL_PLANE_PORT",
    "sample-source": "SAMPLE_SOURCE_PORT",
}
USUAL: Mapping[str, int] = {name: {**ports.USUAL, "flower": 5555}[name] for name in VARIABLES}
"""Published ports by component, each on 127.0.0.1."""


def uid() -> int:
    """Who the containers run as: the user of this machine, who can then read and remove what is shared."""
    own = os.getuid()
    return own if own and sys.platform == "linux" else IMAGE_UID


def project_name(folder: Path) -> str:
    """The project's name as Compose itself would choose it, unless that is another checkout's."""
    plain = read_dotenv(folder / ".env").get("COMPOSE_PROJECT_NAME") or normalised(folder.name)
    if owner(plain) in (None, folder):
        return plain
    return f"{plain}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}"


def normalised(name: str) -> str:
    """A folder's name as Compose makes a project's name of it."""
    return re.sub(r"[^-_a-z0-9]", "", name.lower()).lstrip("_-") or "taxiway"


def owner(project: str) -> Path | None:
    """The checkout whose containers bear this project's name."""
    shown = '{{.Label "com.docker.compose.project.working_dir"}}'
    found = docker(
        "container",
        "ls",
        "--all",
        "--filter",
        f"label=com.docker.compose.project={project}",
        "--format",
        shown,
    )
    return Path(found.splitlines()[0]) if found else None


def read_dotenv(file: Path) -> dict[str, str]:
    """The variables of a .env; empty where there is none. Quotes are taken off, nothing is expanded."""
    if not file.exists():
        return {}
    found = re.findall(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$", file.read_text(), re.MULTILINE)
    return {name: _unquoted(value.strip()) for name, value in found}


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
