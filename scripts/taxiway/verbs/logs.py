"""scripts/logs: the last log lines of a component."""

from __future__ import annotations

import os

from taxiway.errors import UsageError
from taxiway.paths import Home
from taxiway.state import State
from taxiway.verbs import _arguments

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
    State.require(home)
    log = home.logs / f"{chosen.component}.log"
    if not log.exists():
        known = sorted(path.stem for path in home.logs.glob("*.log"))
        raise UsageError(f"component {chosen.component!r} has no log", f"Choose one of: {', '.join(known)}")
    options = ["-n", str(chosen.lines), *(["-F"] if chosen.follow else [])]
    os.execvp("tail", ["tail", *options, str(log)])  # noqa: S606
