"""What has to be true of a machine, said before anything starts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import psutil

from taxiway.errors import PreflightError

GIB = 2**30
MEMORY_BYTES = 2 * GIB
DISK_BYTES = 2 * GIB


def check_machine(folder: Path) -> None:
    """PreflightError unless there is memory and disk enough for the platform."""
    available = psutil.virtual_memory().available
    if available < MEMORY_BYTES:
        raise PreflightError(
            f"{available / GIB:.1f} GiB of memory are free, the platform needs {MEMORY_BYTES / GIB:.0f}",
            "Close something large, then call again.",
        )
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        raise PreflightError(
            f"{free / GIB:.1f} GiB of disk are free at {folder}, the platform needs {DISK_BYTES / GIB:.0f}",
            "Free some, then call again.",
        )


def moved_ports(wanted: Mapping[str, int], chosen: Mapping[str, int]) -> list[str]:
    """One sentence for each component that does not get its usual port."""
    return [
        f"port {wanted[name]} is taken: {name} uses {port}"
        for name, port in chosen.items()
        if port != wanted[name]
    ]
