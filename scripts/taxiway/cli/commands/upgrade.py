"""scripts/upgrade: rehearse an upgrade of Airflow; nothing of this checkout is changed."""

from __future__ import annotations

import re

from rich.console import Console

from taxiway.cli import arguments as _arguments
from taxiway.compose import upgrade
from taxiway.compose.docker import check_docker
from taxiway.console.progress import Progress
from taxiway.errors import UsageError

EXAMPLES = """\
  scripts/upgrade 3.4.0        resolves, builds the image, parses the DAGs, runs their tests; changes nothing
exit code: 0 if nothing breaks, 1 if something does"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("upgrade", "Rehearse an upgrade of Airflow: say what breaks.", EXAMPLES)
    parser.add_argument("version", help="the Airflow to try, such as 3.4.0")
    version = parser.parse_args(arguments).version
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise UsageError(f"{version!r} is not a version", "For example: scripts/upgrade 3.4.0")
    check_docker()
    console = Console(highlight=False)
    report = upgrade.rehearse(version, Progress())
    console.print(f"\nOther packages than now with Airflow {version}:")
    for line in report.changes or ["  none"]:
        console.print(f"  {line}")
    told = report.tests if report.broken else f"Nothing breaks with Airflow {version}."
    console.print(f"\n{told}", markup=False, soft_wrap=True)
    return 1 if report.broken else 0
