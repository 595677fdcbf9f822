"""The secrets of the compose target: made once, then laid out by who may read them.

Each audience is a volume, mounted by the services that need it and by no other. `vault` keeps the originals
and is mounted by the service that writes them alone.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from taxiway.environment import secrets as credentials

VAULT = "vault"
# A volume's files belong to root; gid 0 is the group of every container of this project.
MODE = 0o440

Forms = Mapping[str, Mapping[str, str]]

GENERATORS: Mapping[str, Callable[[], str]] = {
    **{
        name: credentials.GENERATORS[name]
        for name in (
            "admin_password",
            "airflow_database_password",
            "taxi_database_password",
            "jwt_secret",
            "api_secret",
            "fernet_key",
        )
    },
    "redis_password": lambda: secrets.token_urlsafe(24),
    "flower_password": lambda: secrets.token_urlsafe(24),
}


def originals(vault: Path) -> dict[str, str]:
    """The secrets in `vault`, after generating those that are missing."""
    for name, generator in GENERATORS.items():
        if not (vault / name).exists():
            _write(vault / name, generator(), 0o400)
    return {name: (vault / name).read_text() for name in GENERATORS}


def forms(secret: Mapping[str, str]) -> Forms:
    """The files of each audience, in the form in which its readers want them."""
    redis = f"redis://:{secret['redis_password']}@redis:6379"
    airflow, taxi = secret["airflow_database_password"], secret["taxi_database_password"]
    return {
        "database": {
            "password": airflow,
            "metadata_dsn": f"postgresql+psycopg2://airflow:{airflow}@postgres:5432/airflow",
            "fernet_key": secret["fernet_key"],
        },
        "tokens": {"jwt_secret": secret["jwt_secret"], "api_secret": secret["api_secret"]},
        "admin": {
            "admin_password": secret["admin_password"],
            "simple_auth_passwords.json": json.dumps({"admin": secret["admin_password"]}) + "\n",
        },
        "broker": {
            "password": secret["redis_password"],
            "broker_url": f"{redis}/0",
            "result_backend": f"{redis}/1",
            "redis.conf": _redis_conf(secret["redis_password"]),
        },
        "taxi": {"password": taxi, "pg_service.conf": _service(taxi)},
        "flower": {
            "flower_password": secret["flower_password"],
            "basic_auth": f"admin:{secret['flower_password']}",
        },
    }


def lay_out(root: Path, wanted: Forms) -> None:
    """Write every audience's files below `root`; those that are right stay as they are."""
    for audience, files in wanted.items():
        for name, text in files.items():
            file = root / audience / name
            if not file.exists() or file.read_text() != text:
                _write(file, text, MODE)


def _write(file: Path, text: str, mode: int) -> None:
    """Whole or absent; never readable by more than it should be, not even for a moment."""
    temporary = file.with_name(f".{file.name}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.rename(file)


def _redis_conf(password: str) -> str:
    """Every change is on disk within a second: a broker that restarts still knows its queues."""
    lines = (f"requirepass {password}", "dir /data", "appendonly yes", 'save ""', "bind * -::*", "port 6379")
    return "\n".join(lines) + "\n"


def _service(password: str) -> str:
    """A libpq service: unlike a password file it may be readable by a group."""
    entries = {
        "host": "taxi-postgres",
        "port": "5432",
        "dbname": "taxi",
        "user": "taxi",
        "password": password,
    }
    return "\n".join(["[taxi]", *(f"{key}={value}" for key, value in entries.items())]) + "\n"
