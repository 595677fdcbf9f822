"""The peers' environment: installed from its own lock, once, beside the platform's and never into it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.bench import PEERS
from taxiway.console.progress import Progress
from taxiway.environment.home import REPOSITORY

HOME = REPOSITORY / ".tools" / "bench-peers"
_PRIVATE_UV = REPOSITORY / ".tools" / "uv" / "bin" / "uv"


def peers(progress: Progress) -> Path | None:
    """The Python that has the peers; None, with a sentence, where they cannot be installed."""
    python, stamp, wanted = HOME / "bin" / "python", HOME / ".lock-hash", _wanted()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    uv = _PRIVATE_UV if _PRIVATE_UV.exists() else shutil.which("uv")
    if not uv:
        progress.say("no uv, so no peers: the limits are measured without them", "failed")
        return None
    command = [uv, "sync", "--frozen", "--no-managed-python", "--python", sys.executable, "--project", PEERS]
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(HOME), "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    with progress.phase("the peers are installed into .tools/bench-peers (once; about 900 MB)"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        progress.say(
            f"the peers cannot be installed ({last}): the limits are measured without them", "failed"
        )
        return None
    stamp.write_text(wanted)
    return python


def _wanted() -> str:
    return hashlib.sha256((PEERS / "uv.lock").read_bytes() + sys.version.encode()).hexdigest()
