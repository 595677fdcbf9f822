"""What is done through a running Airflow: load partitions, set alerts, use Airflow's own command line."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from taxiway.cli.options import PASS_THROUGH, command, pass_checkout, stack_option, wait_option
from taxiway.console.hints import HINTS
from taxiway.errors import TaxiwayError, UsageError
from taxiway.targets.target import Checkout

if TYPE_CHECKING:
    from taxiway.airflow.client import AirflowApi

GREETING = ":white_check_mark: Taxiway reports here which tasks fail and which files are late."


def complete_dataset(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names that a shell completes: the datasets."""
    from elt.catalogue.registry import DATASETS

    return [name for name in (*DATASETS, "all") if name.startswith(incomplete)]


@command(
    "run",
    """
  scripts/run yellow 2024-03                       one month
  scripts/run yellow 2019-01..2024-12              six years; ended half-way, it
                                                   goes on when called again
  scripts/run yellow green 2023-01..2023-12        a year of two datasets
  scripts/run yellow 2024-01 green 2024-02         a range is for the datasets
                                                   that are named before it
  scripts/run all 2019-01..2024-12 --newest-first  everything, newest first
  scripts/run bikes 2024-01-01..2024-01-31         days of a dataset by days
  scripts/run zones                                a dataset without periods
  scripts/run yellow --changed                     what the source has changed
                                                   since it was loaded
  scripts/run yellow 2024-03 --force               again, although it is loaded
  scripts/run --failed                             what scripts/status shows as
                                                   failed; or of some datasets
A period that was not published yet is tried again; one that is loaded is not.
""",
)
@click.argument("words", nargs=-1, metavar="DATASET… [M..M] …", shell_complete=complete_dataset)
@click.option("--newest-first/--oldest-first", default=False, help="Where to begin.  [default: oldest first]")
@click.option("--changed", is_flag=True, help="Load what the source has changed since, nothing else.")
@click.option("--failed", is_flag=True, help="Run again what has failed, nothing else.")
@click.option("--force", is_flag=True, help="Load again what is loaded already.")
@wait_option
@stack_option
@pass_checkout
def run(
    checkout: Checkout,
    words: tuple[str, ...],
    newest_first: bool,
    changed: bool,
    failed: bool,
    force: bool,
    wait: float,
    stack: str,
) -> int:
    """Load partitions of datasets through Airflow and wait for them."""
    from taxiway.airflow.bootstrap import open_datasets
    from taxiway.console.progress import Progress, Screen
    from taxiway.console.tables import show_datasets
    from taxiway.environment.home import exclusive
    from taxiway.loads import arguments
    from taxiway.loads.service import Loads

    requests = arguments.read(words)
    if sum((changed, failed, force)) > 1:
        raise UsageError(
            "--changed, --failed and --force exclude each other", "--force loads all that is named."
        )
    if not words and not failed:
        raise click.UsageError("Missing argument 'DATASET… [M..M] …'.")
    now = datetime.now(UTC)
    wanted = [] if changed or failed else arguments.partitions(requests, newest_first=newest_first, now=now)
    progress = Progress()
    loads = Loads.of(checkout.running(stack, progress), progress)
    loads.report_problems()
    # Two runs at once would trigger one period twice, and each take the other's for its own.
    with exclusive(checkout.home(stack), "run"):
        broken = loads.failed(requests) if failed else []
        if changed:
            wanted = loads.changed(requests)
        elif failed:
            wanted = list(dict.fromkeys(failure.partition for failure in broken))
        if failed and not broken:
            progress.say("nothing has failed", "done")
        code = 0
        if wanted:
            # An entry that is newer than the last `up` has DAGs that are paused, or not even parsed.
            open_datasets(loads.api, {partition.dataset for partition in wanted})
            code = loads.load(wanted, wait, again=changed or force, force=force, failed=broken)
    show_datasets(Screen(), loads.status(wanted))
    return loads.conclude(code)


@command(
    "alerts",
    """
  scripts/alerts                      whether there is a webhook
  scripts/alerts --set                asks for its address, tries it, keeps it
  scripts/alerts --set <address.txt   the same for programs
  scripts/alerts --off                no more alerts
The address is a secret: Airflow keeps it, encrypted, as the password of its
connection taxi_alerts.
""",
)
@click.option("--set", "on", is_flag=True, help="Read the webhook's address, try it and keep it.")
@click.option("--off", is_flag=True, help="Remove it.")
@stack_option
@pass_checkout
def alerts(checkout: Checkout, on: bool, off: bool, stack: str) -> int:
    """Report failures and late files to a Slack-compatible webhook."""
    if on and off:
        raise UsageError("--set and --off exclude each other", "Choose one of them.")
    click.echo(HINTS.named(set_alerts(checkout.running(stack).api, on=on, off=off)))
    return 0


def set_alerts(api: AirflowApi, *, on: bool, off: bool) -> str:
    """Turn alerts on or off, or neither; returns the sentence that says how they are.

    The webhook's address comes from a hidden prompt or from standard input, never from an argument.
    """
    from elt.orchestration.alerts import CONNECTION, send

    known = api.connection(CONNECTION) is not None
    if off:
        if known:
            api.delete_connection(CONNECTION)
        return "alerts are off"
    if not on:
        return "alerts are on" if known else "alerts are off. Turn them on: scripts/alerts --set"
    if sys.stdin.isatty():
        url = str(click.prompt("Address of the webhook", hide_input=True)).strip()
    else:
        url = sys.stdin.readline().strip()
    if not re.fullmatch(r"https?://[^\s/]+/\S+", url):
        raise UsageError(
            "that is not a webhook's address", "Slack shows one like https://hooks.slack.com/services/…"
        )
    if complaint := send(url, GREETING):
        raise TaxiwayError(f"{complaint}: nothing was changed", "Check the address.")
    api.set_connection(CONNECTION, url, replace=known)
    return "alerts are on: a first message has arrived at the webhook"


@command(
    "airflow",
    """
  scripts/airflow dags list
  scripts/airflow backfill create --dag-id yellow_to_lake \\
      --from-date 2019-01-01 --to-date 2024-12-31
  scripts/airflow tasks states-for-dag-run yellow_to_lake RUN_ID
  scripts/airflow --stack alice dags list
""",
    context_settings=PASS_THROUGH,
)
@stack_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[AIRFLOW'S ARGUMENTS]…")
@pass_checkout
def airflow(checkout: Checkout, stack: str, arguments: tuple[str, ...]) -> int:
    """Run Airflow's own command line in the environment."""
    from taxiway.airflow.environment import clean_environment
    from taxiway.embedded.components import launching
    from taxiway.embedded.manager import become

    command = checkout.running(stack).airflow_command(arguments)
    if found := launching(command):
        # In this very process, where a debugger may be: it would not follow to another program.
        become(found[1], clean_environment() | json.loads(found[0].read_text()))
    os.execvpe(command[0], command, clean_environment())  # noqa: S606


COMMANDS = (run, alerts, airflow)
