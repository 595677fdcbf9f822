"""What some people want: installed when it is first asked for, each in an environment below .tools."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taxiway.compose.packages import INSTALL_SECONDS, Uv
from taxiway.environment.home import REPOSITORY, write_atomically
from taxiway.errors import TaxiwayError, UsageError

SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
"""Where an environment's packages are, those of .venv included: all are made with this Python."""


@dataclass(frozen=True)
class OnDemand:
    """An environment of the packages in a file with their hashes.

    `there` is a path in it that is there once they are installed; `megabytes` is what they take on disk.
    """

    name: str
    locked: Path
    there: str
    megabytes: int

    def installed(self, folder: Path | None = None, uv: Uv | None = None) -> Path:
        """The environment's folder, installed if need be; TaxiwayError if it cannot be."""
        # Its programs name its Python by the whole path: in a folder that was moved none of them starts.
        folder = (folder or REPOSITORY / ".tools" / self.name).resolve()
        stamp, wanted = folder / "requirements.txt", f"# {folder}\n{self.locked.read_text()}"
        folder.parent.mkdir(exist_ok=True)
        with (folder.parent / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ((folder / self.there).exists() and stamp.exists() and stamp.read_text() == wanted):
                size = f"once; {self.megabytes} MB on disk"
                sys.stderr.write(f"taxiway: installing {self.name} into .tools/{self.name} ({size})\n")
                self._install(folder, uv or Uv())
                write_atomically(stamp, wanted)
        return folder

    def _install(self, folder: Path, uv: Uv) -> None:
        python = ("--no-managed-python", "--python", sys.executable)
        make = ("venv", "--quiet", "--clear", *python, str(folder))
        sync = ("pip", "sync", "--quiet", "--require-hashes", "--python", str(folder), self.locked.name)
        try:
            for command in (make, sync):
                uv.run(self.locked.parent, *command, seconds=INSTALL_SECONDS)
        except TaxiwayError as error:
            remedy = "Check the network to the package index and the free disk ({} MB), then call again."
            raise TaxiwayError(
                f"{self.name} could not be installed: {error}", remedy.format(self.megabytes + 50)
            ) from None


def the_one(what: str, where: str, found: Sequence[Path], checkout: Path, remedy: str) -> Path:
    """The only file or folder that packages keep for such a program; UsageError if there is none, or more."""
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(checkout)) for path in found) or "none"
        raise UsageError(f"which {what} is meant? In {where} there is: {names}", remedy)
    return found[0]


def surroundings(found: Mapping[str, str]) -> dict[str, str]:
    """The variables of such a program: our own without what is for others, and `found`."""
    foreign = ("AIRFLOW_", "GOOGLE_APPLICATION_CREDENTIALS", "PG", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | dict(found)
