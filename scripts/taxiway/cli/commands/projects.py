"""A project of one's own: made from a clone of Taxiway, and kept up to date."""

from __future__ import annotations

import os
import shlex

import click

from taxiway.cli.options import command, pass_checkout
from taxiway.targets.target import Checkout


@command(
    "init",
    """
  scripts/init my-project                  beside this checkout
  scripts/init ~/work/my-project           elsewhere
  scripts/init my-project bikes https://example.com/bikes_2024-01.csv
                                           with its first dataset
  scripts/init my-project --keep-history   with this checkout's commits
  scripts/init --update                    in a project: what is new in Taxiway,
                                           on the branch taxiway, to be merged
This checkout stays as it is. What a project is: docs/your-own-project.md
""",
)
@click.argument("project", required=False)
@click.argument("dataset", required=False)
@click.argument("address", required=False)
@click.option("--keep-history", is_flag=True, help="Begin with this checkout's commits, not with one.")
@click.option("--update", "newer", is_flag=True, help="Fetch what is new in Taxiway into this project.")
@click.option("--again", is_flag=True, hidden=True, help="As an update does it.")
@pass_checkout
def init(
    checkout: Checkout,
    project: str | None,
    dataset: str | None,
    address: str | None,
    keep_history: bool,
    newer: bool,
    again: bool,
) -> int:
    """Make a PROJECT of your own, without the example, in a new folder."""
    if newer == bool(project) or bool(dataset) != bool(address):
        raise click.UsageError("give the PROJECT (and a DATASET with the ADDRESS of a file), or --update")
    if newer:
        return _update(checkout)
    from taxiway.console.progress import Progress
    from taxiway.projects.making import make, place

    progress = Progress()
    target = place(str(project), checkout.folder, again=again)
    source = make(
        checkout.folder,
        target,
        keep_history=keep_history,
        first=[dataset, address] if dataset and address else [],
    )
    if again:
        return 0
    progress.say(f"{target.name} is made from Taxiway at {source}, in {progress.elapsed:.1f} s", "done")
    add = "" if dataset else "\n          scripts/new NAME ADDRESS       its first dataset, from a file"
    click.echo(
        f"Next      cd {shlex.quote(min(os.path.relpath(target), str(target), key=len))}{add}\n"
        "          scripts/up                     start the platform\n"
        "          scripts/check && scripts/test  its own checks and tests"
    )
    return 0


def _update(checkout: Checkout) -> int:
    from taxiway.projects.making import BRANCH, update

    source = update(checkout.folder)
    if not source:
        click.echo("Nothing is new.")
        return 0
    click.echo(f"The branch {BRANCH} is Taxiway at {source} now. Merge it: git merge {BRANCH}")
    return 0


COMMANDS = (init,)
