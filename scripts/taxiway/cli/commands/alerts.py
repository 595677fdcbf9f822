"""scripts/alerts: where Airflow sends word of failures and late months."""

from __future__ import annotations

import getpass
import re
import sys

from elt.orchestration import alerts
from taxiway.airflow.client import AirflowApi
from taxiway.cli import arguments as _arguments
from taxiway.console.progress import Progress
from taxiway.environment.paths import Home
from taxiway.environment.state import State
from taxiway.errors import TaxiwayError, UsageError
from taxiway.targets.target import target_of

EXAMPLES = """\
  scripts/alerts                          whether there is a webhook
  scripts/alerts --set                    asks for its address, tries it, keeps it
  scripts/alerts --set <address.txt       the same for programs
  scripts/alerts --off                    no more alerts
The address is a secret: Airflow keeps it, encrypted, as the password of its connection taxi_alerts."""
GREETING = ":white_check_mark: Taxiway tells here of tasks that fail and of months that are late."


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser(
        "alerts", "Say where to send word of failures and late months: a Slack-compatible webhook.", EXAMPLES
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--set", action="store_true", help="read the webhook's address, try it and keep it")
    what.add_argument("--off", action="store_true", help="forget it")
    _arguments.add_stack(parser)
    chosen = parser.parse_args(arguments)
    home = Home.of(chosen.stack)
    environment = target_of(home, State.require(home), Progress())
    if not environment.running():
        raise TaxiwayError("the platform does not run", "Start it: scripts/up")
    print(_act(environment.api, on=chosen.set, off=chosen.off))  # noqa: T201 - its output
    return 0


def _act(api: AirflowApi, *, on: bool, off: bool) -> str:
    known = api.has_connection(alerts.CONNECTION)
    if off:
        if known:
            api.delete_connection(alerts.CONNECTION)
        return "alerts are off"
    if on:
        api.set_connection(alerts.CONNECTION, _tried(_address()), replace=known)
        return "alerts are on: a first message has arrived at the webhook"
    return "alerts are on" if known else "alerts are off. Turn them on: scripts/alerts --set"


def _address() -> str:
    """The webhook's address, from a hidden prompt or from standard input: never an argument."""
    text = getpass.getpass("Address of the webhook: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not re.fullmatch(r"https?://[^\s/]+/\S+", text.strip()):
        raise UsageError(
            "that is no webhook's address", "Slack shows one like https://hooks.slack.com/services/…"
        )
    return text.strip()


def _tried(url: str) -> str:
    if complaint := alerts.send(url, GREETING):
        raise TaxiwayError(f"{complaint}: nothing was changed", "Look at the address again.")
    return url
