"""The first service of all: secrets, owners of folders, the day on which schedules begin, a probe for all.

It runs as root of its container, with no network and four capabilities, so that nothing else has to.
It may be run again at any time, and it is the remedy where owners or modes are wrong.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from taxiway.compose import preflight, secrets
from taxiway.errors import PreflightError

SECRETS = Path("/secrets")
DATA = Path("/data")
SETTINGS = Path("/settings")
LOGS = Path("/logs")
# Belongs to whoever cloned the repository, and so tells who that is.
CHECKOUT = Path("/dags")
AIRFLOW = Path("/airflow")
SCRIPTS = Path("/opt/taxiway/scripts")


def main() -> int:
    """Do all of it, unless the services could not run: that is said here, once, and nothing starts."""
    uid = int(os.environ.get("AIRFLOW_UID") or 50000)
    try:
        preflight.check_engine({"MemTotal": memory()})
        check_readable((CHECKOUT, AIRFLOW, SCRIPTS), uid)
    except PreflightError as error:
        sys.stderr.write(f"prepare: {error}\nprepare: remedy: {error.remedy}\n")
        return 1
    secrets.lay_out(SECRETS, secrets.forms(secrets.originals(SECRETS / secrets.VAULT)))
    remember_the_day(SETTINGS / "environment")
    offer(AIRFLOW / "probe", SETTINGS / "probe")
    for volume in sorted(DATA.iterdir()):
        give(volume, uid)
    share_logs(LOGS, CHECKOUT.stat().st_uid)
    return 0


def memory() -> int:
    """Bytes of memory that the engine's machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_readable(folders: Sequence[Path], uid: int) -> None:
    """PreflightError where the services' user cannot read the checkout.

    It is that user who looks: the folders that a virtual machine shares show other modes than they grant.
    """
    unreadable = ("-name", "__pycache__", "-prune", "-o", "!", "-readable", "-print", "-quit")
    found = subprocess.run(["find", *folders, *unreadable], user=uid, capture_output=True, text=True).stdout
    if found:
        owner = folders[0].stat().st_uid
        raise PreflightError(
            f"{found.strip()} of this checkout cannot be read by uid {uid}, as which the services run",
            f"put AIRFLOW_UID={owner} into .env, that of its owner" if owner else "chmod -R go+rX .",
        )


def remember_the_day(file: Path) -> None:
    """Schedules follow the months that are published from now on; earlier ones are asked for."""
    if not file.exists():
        file.write_text(f"TAXI_SCHEDULE_START={datetime.now(UTC).date().isoformat()}\n")
        file.chmod(0o444)


def offer(script: Path, place: Path) -> None:
    """Copy a script to where every container can run it, whoever may read the checkout."""
    place.unlink(missing_ok=True)
    shutil.copyfile(script, place)
    place.chmod(0o555)


def give(volume: Path, uid: int) -> None:
    """Make the services' user own a volume with all that is in it; it may have been another before."""
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


if __name__ == "__main__":
    sys.exit(main())
