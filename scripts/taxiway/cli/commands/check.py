"""scripts/check: lint, format check and type check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from taxiway.cli import arguments as _arguments
from taxiway.environment.paths import REPOSITORY

CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
)


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    _arguments.parser("check", "Lint, check the format and check the types.", "  scripts/check").parse_args(
        arguments
    )
    programs = Path(sys.prefix) / "bin"
    codes = [subprocess.run([programs / c[0], *c[1:]], cwd=REPOSITORY).returncode for c in CHECKS]
    return max(codes)
