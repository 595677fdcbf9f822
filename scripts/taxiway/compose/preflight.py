"""What has to be true of a machine before containers are started on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taxiway.errors import PreflightError

GIB = 2**30
MEMORY_BYTES = 3 * GIB
DISK_BYTES = 6 * GIB
LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104 - named to be refused
SHARED = ("dags", "dags_local", "plugins", "scripts", "infra", "airflow")


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


def check_source(source: str) -> None:
    """PreflightError if `source` is a URL of this machine's loopback, which is not the containers'."""
    address = urlsplit(source)
    if address.scheme and address.hostname in LOOPBACK:
        raise PreflightError(
            f"containers cannot reach {source}: their loopback is not this machine's",
            f"Let it listen on 0.0.0.0 and pass --source http://host.docker.internal:{address.port or 80}",
        )


def check_readable(folder: Path, uid: int) -> None:
    """PreflightError if the containers' user cannot read what is shared with it."""
    # They run as us: what we can read they can.
    if os.getuid() == uid:
        return
    for name in SHARED:
        for path in (folder / name, *(folder / name).iterdir()):
            status = path.stat()
            # Group 0 is the containers' own.
            wanted = 0o040 if status.st_gid == 0 else 0o004
            if not status.st_mode & wanted:
                raise PreflightError(
                    f"{path} cannot be read by uid {uid}, gid 0, as which the containers run",
                    f"chmod -R go+rX {folder / name}",
                )
