"""Models on the published tables: dbt, as its own documentation describes it."""

from __future__ import annotations

import os

import click

from taxiway.cli.options import PASS_THROUGH, command, pass_checkout, stack_option, stores_of
from taxiway.targets.target import Checkout


@command(
    "dbt",
    """
  scripts/dbt build                          seeds, models, snapshots, tests
  scripts/dbt build --select fct_daily_trips+
  scripts/dbt build --target postgres        in Postgres, schema dbt
  scripts/dbt docs generate
  scripts/dbt source freshness
  scripts/dbt --stack alice build            for a stack on Google Cloud
  scripts/dbt build --help                   dbt's own help
The first call installs dbt into .tools/dbt, an environment of its own.
""",
    context_settings=PASS_THROUGH,
)
@stack_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="DBT'S ARGUMENTS…")
@pass_checkout
def dbt(checkout: Checkout, stack: str, arguments: tuple[str, ...]) -> int:
    """Run dbt on BigQuery, its emulator, or Postgres."""
    from taxiway.compose.on_demand import surroundings
    from taxiway.transforming.dbt import program, project, variables

    if not arguments:
        raise click.UsageError("Missing argument 'DBT'S ARGUMENTS…', such as build.")
    home = checkout.home(stack)
    found = variables(stores_of(checkout, stack), home.emulator_token, home.root, project(checkout.folder))
    called = program(checkout.folder / ".tools" / "dbt")
    os.execve(called, [str(called), *arguments], surroundings(found))  # noqa: S606


COMMANDS = (dbt,)
