"""scripts/test: run the tests, after setting up what they need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from taxiway.cli import arguments as _arguments
from taxiway.environment.paths import REPOSITORY

EXAMPLES = """\
  scripts/test                     everything but the containers
  scripts/test --docker            the compose target, in real containers
  scripts/test tests/unit          some of it; any option of pytest may follow
  scripts/test -k month -x"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns pytest's exit code."""
    if arguments in (["-h"], ["--help"]):
        _arguments.parser("test", "Run the tests; every option goes to pytest.", EXAMPLES).parse_args(
            arguments
        )
    pytest = Path(sys.prefix) / "bin" / "pytest"
    # Airflow's own settings of the user's shell are not the tests' business.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW_")}
    return subprocess.run([pytest, *arguments], cwd=REPOSITORY, env=environment).returncode
