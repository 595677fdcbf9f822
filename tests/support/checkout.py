"""A checkout of its own, as a user has it, and the commands run in it as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from repository import copy_working_tree, share_environment

from elt.connections import EnvironmentConnections
from taxiway.environment.home import Home, read_json


@dataclass(frozen=True)
class Checkout:
    """A copy of the working tree that shares the installed packages."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / ".taxiway" / "local"

    def command(self, name: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run scripts/NAME; fails the test with all it printed unless it exits with `code`."""
        command = [self.folder / "scripts" / name, *arguments]
        environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, timeout=1200)
        assert done.returncode == code, (
            f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    @property
    def connections(self) -> EnvironmentConnections:
        """The stores, through the connections that this environment's Airflow has."""
        return EnvironmentConnections(read_json(Home(self.home).environment))

    def status(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return facts

    def datasets(self) -> dict[tuple[str, str | None], dict[str, Any]]:
        return {(row["dataset"], row["period"]): row for row in self.status()["datasets"]}

    def processes(self) -> list[str]:
        """What runs in this checkout."""
        return list(self.by_pid().values())

    def by_pid(self) -> dict[int, str]:
        """What runs in this checkout, seen from outside: by working folder or command line."""
        found = {}
        for process in psutil.process_iter():
            try:
                words = [process.cwd(), *process.cmdline()]
            except (psutil.Error, OSError):
                continue
            if any(str(self.folder) in word for word in words):
                found[process.pid] = " ".join(words)
        return found


def make_checkout(folder: Path) -> Checkout:
    copy_working_tree(folder)
    share_environment(folder)
    return Checkout(folder)
