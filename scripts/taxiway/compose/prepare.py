"""The first service of all: secrets, owners of folders, the day on which schedules begin, a probe for all.

It runs as root of its container, with no network and four capabilities, so that nothing else has to.
It may be run again at any time, and it is the remedy for wrong owners or modes.

Secrets are made once, then laid out by who may read them. Each audience is a volume, mounted by the services
that need it and by no other. `vault` keeps the originals and is mounted by this service alone.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from taxiway.compose import preflight
from taxiway.environment import secrets as credentials
from taxiway.errors import PreflightError
from taxiway.waiting import run

SECRETS = Path("/secrets")
DATA = Path("/data")
SETTINGS = Path("/settings")
LOGS = Path("/logs")
# Belongs to whoever cloned the repository, and so tells who that is.
CHECKOUT = Path("/dags")
AIRFLOW = Path("/airflow")
SCRIPTS = Path("/opt/taxiway/scripts")
# A checkout on a network drive is slow to walk through.
SCAN_SECONDS = 120

VAULT = "vault"
# A volume's files belong to root; gid 0 is the group of every container of this project.
MODE = 0o440

# Of servers that Compose has not.
EMBEDDED_ONLY = ("postgres_password", "supervisor_password")
Forms = Mapping[str, Mapping[str, str]]

GENERATORS: Mapping[str, Callable[[], str]] = {
    **{name: made for name, made in credentials.GENERATORS.items() if name not in EMBEDDED_ONLY},
    "redis_password": lambda: secrets.token_urlsafe(24),
    "flower_password": lambda: secrets.token_urlsafe(24),
}


def main(memory: int | None = None) -> int:
    """Do all of it, unless the services could not run: that is printed here, once, and nothing starts.

    `memory` is how many bytes the engine's machine has, measured if it is not given.
    """
    uid = int(os.environ.get("AIRFLOW_UID") or 50000)
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if memory is None else memory
        preflight.check_engine({"MemTotal": total})
        check_readable((CHECKOUT, AIRFLOW, SCRIPTS), uid)
    except PreflightError as error:
        sys.stderr.write(f"prepare: {error}\nprepare: remedy: {error.remedy}\n")
        return 1
    # Before any owner is changed: a service that finds no secret says nothing of why.
    lay_out(SECRETS, forms(originals(SECRETS / VAULT)))
    remember_the_day(SETTINGS / "environment")
    offer(AIRFLOW / "probe", SETTINGS / "probe")
    for volume in sorted(DATA.iterdir()):
        give(volume, uid)
    share_logs(LOGS, CHECKOUT.stat().st_uid)
    return 0


def check_readable(folders: Sequence[Path], uid: int) -> None:
    """PreflightError if the services' user cannot read the checkout.

    `find` runs as that user: the folders that a virtual machine shares show other modes than they grant.
    """
    unreadable = ("-name", "__pycache__", "-prune", "-o", "!", "-readable", "-print", "-quit")
    found = run(["find", *folders, *unreadable], SCAN_SECONDS, user=uid).stdout
    if found:
        owner = folders[0].stat().st_uid
        raise PreflightError(
            f"{found.strip()} of this checkout cannot be read by uid {uid}, as which the services run",
            f"put AIRFLOW_UID={owner} into .env, that of its owner" if owner else "chmod -R go+rX .",
        )


def remember_the_day(file: Path) -> None:
    """Schedules follow the months that are published from now on; earlier ones are asked for."""
    # Once: with a later day at each start the months in between would never be scheduled.
    if not file.exists():
        file.write_text(f"TAXI_SCHEDULE_START={datetime.now(UTC).date().isoformat()}\n")
        file.chmod(0o444)


def offer(script: Path, place: Path) -> None:
    """Copy a script to where every container can run it, whoever may read the checkout."""
    # A new file: the old one may be running as another container's health check.
    place.unlink(missing_ok=True)
    shutil.copyfile(script, place)
    place.chmod(0o555)


def give(volume: Path, uid: int) -> None:
    """Make the services' user own a volume with all that is in it: AIRFLOW_UID may have changed."""
    if volume.stat().st_uid == uid:
        return
    for folder, _, files in os.walk(volume):
        for name in (folder, *(os.path.join(folder, file) for file in files)):  # noqa: PTH118 - millions, maybe
            os.chown(name, uid, 0, follow_symlinks=False)
    # The top last: a walk that was cut short is done again.
    volume.chmod(0o2770)
    os.chown(volume, uid, 0)


def share_logs(logs: Path, owner: int) -> None:
    """`./logs` belongs to the host's user and lets the containers' group in, and nobody else.

    So what Airflow makes below it may be open to all: the host's user can remove it without being root.
    """
    try:
        os.chown(logs, owner, 0)
        logs.chmod(0o2770)
    except OSError as error:
        # Docker Desktop shares folders in which nobody owns anything, and everybody may write.
        sys.stderr.write(f"prepare: ./logs stays as it is: {error}\n")


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
    return f"[taxi]\nhost=taxi-postgres\nport=5432\ndbname=taxi\nuser=taxi\npassword={password}\n"


if __name__ == "__main__":
    sys.exit(main())
