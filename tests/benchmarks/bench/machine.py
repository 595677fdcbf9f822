"""Which machine a report is of, how busy it was, and the peers' environment on it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from taxiway.console.progress import Progress
from taxiway.environment.home import REPOSITORY

_PEERS = Path(__file__).resolve().parents[1] / "peers"
_HOME = REPOSITORY / ".tools" / "bench-peers"
_INSTALL_SECONDS = 3600

# Not the load of the last minute: in that this environment may have been installed.
_SAMPLE_SECONDS = 3.0
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
        "load": round(psutil.cpu_percent(_SAMPLE_SECONDS) / 100 * (psutil.cpu_count() or 1), 2),
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
        ["git", "describe", "--always", "--dirty"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


def peers(progress: Progress) -> Path | None:
    """The Python that has the peers, installed from their own lock, never into the platform's environment.

    None, with a sentence, if they cannot be installed.
    """
    python, stamp, wanted = _HOME / "bin" / "python", _HOME / ".lock-hash", _wanted()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    uv = shutil.which(str(REPOSITORY / ".tools" / "uv" / "bin" / "uv")) or shutil.which("uv")
    if not uv:
        progress.say("no uv, so no peers: the limits are measured without them", "failed")
        return None
    command = [uv, "sync", "--frozen", "--no-managed-python", "--python", sys.executable]
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(_HOME), "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    with progress.phase("the peers are installed into .tools/bench-peers (once; about 900 MB)"):
        done = subprocess.run(
            command, cwd=_PEERS, env=environment, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        progress.say(
            f"the peers cannot be installed ({last}): the limits are measured without them", "failed"
        )
        return None
    stamp.write_text(wanted)
    return python


def _wanted() -> str:
    return hashlib.sha256((_PEERS / "uv.lock").read_bytes() + sys.version.encode()).hexdigest()
