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
from typing import Any

from taxiway.compose import certificates
from taxiway.environment import secrets as credentials
from taxiway.environment.home import write_atomically
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.waiting import run

GIB = 2**30
MEMORY_BYTES = 3 * GIB
DISK_BYTES = 6 * GIB

SECRETS = Path("/secrets")
SETTINGS = Path("/settings")
LOGS = Path("/logs")
# The folders of the checkout that services mount; they belong to whoever cloned it, and so tell who that is.
CHECKOUT = Path("/checkout")
SCRIPTS = Path("/opt/taxiway/scripts")
# A checkout on a network drive is slow to walk through, and so is a volume with years of data.
SCAN_SECONDS, GIVE_SECONDS = 120, 3600

VAULT = "vault"
# A volume's files belong to root; gid 0 is the group of every container of this project.
MODE = 0o440

Forms = Mapping[str, Mapping[str, str]]

# Of servers that Compose has not.
EMBEDDED_ONLY = ("postgres_password", "supervisor_password")
GENERATORS: Mapping[str, Callable[[], str]] = {
    **{name: made for name, made in credentials.GENERATORS.items() if name not in EMBEDDED_ONLY},
    "redis_password": lambda: secrets.token_urlsafe(24),
    "flower_password": lambda: secrets.token_urlsafe(24),
    "gateway_key": lambda: secrets.token_urlsafe(32),
    "worker_key": lambda: secrets.token_urlsafe(32),
}


def main(memory: int | None = None) -> int:
    """Do all of it, unless the services could not run: that is printed here, once, and nothing starts.

    `memory` is how many bytes the engine's machine has, measured if it is not given.
    """
    uid = int(os.environ.get("AIRFLOW_UID") or 50000)
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if memory is None else memory
        check_engine({"MemTotal": total})
        check_readable((*sorted(CHECKOUT.iterdir()), SCRIPTS), uid)
        # Before any owner is changed: a service that finds no secret says nothing of why.
        lay_out(SECRETS, forms(originals(SECRETS / VAULT)))
        remember_the_day(SETTINGS / "environment")
        offer(CHECKOUT / "airflow" / "probe", SETTINGS / "probe")
        for volume in sorted(Path("/data").iterdir()):
            give(volume, uid)
        share_logs(LOGS, SCRIPTS.stat().st_uid)
    except TaxiwayError as error:
        sys.stderr.write(f"prepare: {error}\nprepare: remedy: {error.remedy}\n")
        return 1
    return 0


def check_engine(
    info: Mapping[str, Any], free: Callable[[Path], int] = lambda root: shutil.disk_usage(root).free
) -> None:
    """PreflightError unless what `docker info` says has memory and disk enough.

    `free` gives the bytes that are free below a folder.
    """
    memory = int(info.get("MemTotal") or 0)
    if memory < MEMORY_BYTES:
        raise PreflightError(
            f"Docker has {memory / GIB:.1f} GiB of memory, the platform needs {MEMORY_BYTES / GIB:.0f}",
            "Give it more (Docker Desktop: Settings, Resources), or use scripts/up without --target compose.",
        )
    # An engine in a virtual machine names a folder of that machine: only one that is here can be measured.
    root = Path(str(info.get("DockerRootDir") or "/nowhere"))
    if root.exists() and (left := free(root)) < DISK_BYTES:
        raise PreflightError(
            f"{left / GIB:.1f} GiB of disk are free below {root}, images need {DISK_BYTES / GIB:.0f}",
            "Free some (docker system prune removes what no container uses), then call again.",
        )


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
        write_atomically(file, f"TAXI_SCHEDULE_START={datetime.now(UTC).date().isoformat()}\n", 0o444)


def offer(script: Path, place: Path) -> None:
    """Copy a script to where every container can run it, whoever may read the checkout."""
    # A new file: the old one may be running as another container's health check.
    write_atomically(place, script.read_text(), 0o555)


def give(volume: Path, uid: int) -> None:
    """Make the services' user own a volume with all that is in it: AIRFLOW_UID may have changed."""
    if volume.stat().st_uid == uid:
        return
    volume.chmod(0o2770)
    # The top last, by -depth: a walk that was cut short is done again.
    chown = ("-exec", "chown", "--no-dereference", f"{uid}:0", "{}", "+")
    done = run(["find", volume, "-depth", *chown], GIVE_SECONDS)
    if done.returncode:
        complaint = done.stderr.strip()[-300:]
        raise TaxiwayError(f"{volume} cannot be given to uid {uid}: {complaint}", "Check the volume's disk.")


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
            write_atomically(vault / name, generator(), 0o400)
    return {name: (vault / name).read_text() for name in GENERATORS}


def forms(secret: Mapping[str, str]) -> Forms:
    """The files of each audience, in the form in which its readers want them."""
    broker, flower, admin = (secret[f"{name}_password"] for name in ("redis", "flower", "admin"))
    airflow, taxi = (secret[f"{name}_database_password"] for name in ("airflow", "taxi"))
    gateway, worker = (certificates.make(secret[f"{name}_key"], name) for name in ("gateway", "worker"))
    redis = f"redis://:{broker}@redis:6379"
    # Every change is on disk within a second: a broker that restarts still knows its queues.
    lasting = 'dir /data\nappendonly yes\nsave ""\n'
    # Unlike a password file, a service file may be readable by a group.
    service = "[taxi]\nhost=taxi-postgres\nport=5432\ndbname=taxi\nuser=taxi\n"
    return {
        "database": {
            "password": airflow,
            "metadata_dsn": f"postgresql+psycopg2://airflow:{airflow}@postgres:5432/airflow",
            "fernet_key": secret["fernet_key"],
        },
        "tokens": {name: secret[name] for name in ("jwt_secret", "api_secret")},
        "admin": {
            "admin_password": admin,
            "simple_auth_passwords.json": json.dumps({"admin": admin}) + "\n",
        },
        "broker": {
            "password": broker,
            "broker_url": f"{redis}/0",
            "result_backend": f"{redis}/1",
            "redis.conf": f"requirepass {broker}\n{lasting}bind * -::*\nport 6379\n",
        },
        "taxi": {"password": taxi, "pg_service.conf": f"{service}password={taxi}\n"},
        "emulator": {
            "token": secret["emulator_token"],
            "credentials.json": credentials.emulator_credentials(secret["emulator_token"]),
        },
        "google": {"secret": secret[credentials.TOKEN_SECRET]},
        "reader": {"secret": secret[credentials.READER_SECRET]},
        "gateway": {
            "gateway.pem": gateway,
            "gateway.crt": certificates.public(gateway),
            "worker.pem": worker,
            "worker.crt": certificates.public(worker),
        },
        "flower": {"flower_password": flower, "basic_auth": f"admin:{flower}"},
    }


def lay_out(root: Path, wanted: Forms) -> None:
    """Write every audience's files below `root`; those that are right stay as they are."""
    for audience, files in wanted.items():
        for name, text in files.items():
            file = root / audience / name
            if not file.exists() or file.read_text() != text:
                write_atomically(file, text, MODE)


if __name__ == "__main__":
    sys.exit(main())
