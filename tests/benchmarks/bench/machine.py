"""Which machine a report is of, and how busy it was."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from taxiway.environment.home import REPOSITORY

# Not the load of the last minute: then this environment may have been installed.
_LOOK_SECONDS = 3.0
_PACKAGES = ("apache-airflow", "pyarrow", "psycopg", "pgpq", "duckdb", "google-cloud-storage")


def describe() -> dict[str, Any]:
    """Processor, memory, system, versions, date; `load` is how many cores others use at the moment."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "load": round(psutil.cpu_percent(_LOOK_SECONDS) / 100 * (psutil.cpu_count() or 1), 2),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def is_busy(machine: dict[str, Any]) -> bool:
    """Whether other programs took part of the machine: figures of such a run are not to be quoted."""
    return bool(machine["load"] > 0.1 * machine["cores"])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return done.stdout.strip()
