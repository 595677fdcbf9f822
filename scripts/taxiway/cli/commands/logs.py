"""scripts/logs: the last log lines of a component."""

from __future__ import annotations

import os

from taxiway.cli import arguments as _arguments
from taxiway.console.progress import Progress
from taxiway.environment.paths import Home
from taxiway.environment.state import State
from taxiway.targets.target import target_of

EXAMPLES = """\
  scripts/logs scheduler             the last 50 lines
  scripts/logs postgres -n 200       more of them
  scripts/logs api-server -f         follow"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("logs", "Show the last log lines of a component.", EXAMPLES)
    parser.add_argument("component", help="a component that scripts/status lists")
    parser.add_argument(
        "-n", "--lines", type=int, default=50, metavar="N", help="how many lines (%(default)d)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on as more is logged")
    _arguments.add_stack(parser)
    chosen = parser.parse_args(arguments)
    home = Home.of(chosen.stack)
    target = target_of(home, State.require(home), Progress())
    command = target.log_command(chosen.component, chosen.lines, follow=chosen.follow)
    os.execvp(command[0], command)  # noqa: S606
