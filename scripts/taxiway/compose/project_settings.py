"""What the compose target decides before it starts: project name, ports, user, folders."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from taxiway.compose.docker import owner
from taxiway.environment import machine
from taxiway.environment.home import DEFAULT_STACK

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
"""The variable that publishes each component, on 127.0.0.1."""

USUAL: Mapping[str, int] = {name: {**machine.USUAL, "flower": 5555}[name] for name in VARIABLES}


def uid() -> int:
    """Who the containers run as: the user of this machine, who can then read and remove what is shared."""
    own = os.getuid()
    return own if own and sys.platform == "linux" else IMAGE_UID


def project_name(folder: Path, stack: str) -> str:
    """The name of a stack's Compose project: another checkout's is not taken over.

    The default stack has the name that Compose itself gives a checkout: `docker compose ps` shows it.
    """
    plain = normalised(folder.name) if stack == DEFAULT_STACK else f"taxiway-{stack}"
    if owner(plain) in (None, folder):
        return plain
    return f"{plain}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}"


def normalised(name: str) -> str:
    """A folder's name as Compose makes a project's name of it."""
    return re.sub(r"[^-_a-z0-9]", "", name.lower()).lstrip("_-") or "taxiway"
