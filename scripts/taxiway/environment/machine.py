"""Whether this machine has enough memory and disk for the platform."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from taxiway.errors import PreflightError

GIB = 2**30
MEMORY_BYTES = 2 * GIB
DISK_BYTES = 2 * GIB


@dataclass(frozen=True)
class Machine:
    """Bytes of memory that are available, and of disk that are free at `folder`."""

    memory: int
    disk: int
    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Measure this machine now."""
        import psutil

        return cls(psutil.virtual_memory().available, shutil.disk_usage(folder).free, folder)

    def check(self) -> None:
        """PreflightError unless there is enough for the platform."""
        for free, least, what, remedy in (
            (self.memory, MEMORY_BYTES, "memory are free", "Close something large"),
            (self.disk, DISK_BYTES, f"disk are free at {self.folder}", "Free some"),
        ):
            if free < least:
                sentence = f"{free / GIB:.1f} GiB of {what}, the platform needs {least / GIB:.0f}"
                raise PreflightError(sentence, f"{remedy}, then call again.")
