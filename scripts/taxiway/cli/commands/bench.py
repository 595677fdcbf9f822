"""scripts/bench: measure the platform against its limits and its peers, on this machine."""

from __future__ import annotations

import subprocess
import sys

from taxiway.environment.paths import REPOSITORY


def main(arguments: list[str]) -> int:
    """Run the benchmark, which is no part of the product; returns its exit code."""
    return subprocess.run([sys.executable, REPOSITORY / "tests" / "benchmarks", *arguments]).returncode
