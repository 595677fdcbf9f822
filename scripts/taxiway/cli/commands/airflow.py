"""scripts/airflow: Airflow's own command line, in the environment."""

from __future__ import annotations

import argparse
import os

from taxiway.airflow.environment import clean_environment
from taxiway.cli import arguments as _arguments
from taxiway.console.progress import Progress
from taxiway.environment.paths import Home
from taxiway.environment.state import State
from taxiway.errors import TaxiwayError
from taxiway.targets.target import target_of

EXAMPLES = """\
  scripts/airflow dags list
  scripts/airflow backfill create --dag-id yellow_to_lake --from-date 2019-01-01 --to-date 2024-12-31
  scripts/airflow tasks states-for-dag-run yellow_to_lake RUN_ID"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("airflow", "Run Airflow's own command line in the environment.", EXAMPLES)
    _arguments.add_stack(parser)
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="…", help="what Airflow is told")
    chosen = parser.parse_args(arguments)
    home = Home.of(chosen.stack)
    environment = target_of(home, State.require(home), Progress())
    if not environment.running():
        raise TaxiwayError("the platform does not run", "Start it: scripts/up")
    command = environment.airflow_command(chosen.words)
    os.execvpe(command[0], command, clean_environment())  # noqa: S606
