"""scripts/preview: what `up` would change, and what the stack would cost in a month."""

from __future__ import annotations

import argparse

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from taxiway.cli import arguments as _arguments
from taxiway.targets.stack import StackSettings, open_stack

EXAMPLES = """\
  scripts/preview                                    the local stack
  scripts/preview --stack alice --project my-project  a stack on Google Cloud"""
SIGNS = {"create": "[green]+[/]", "update": "[yellow]~[/]", "replace": "[red]±[/]", "delete": "[red]-[/]"}


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser(
        "preview", "Show what up would change, and a month's estimated cost.", EXAMPLES
    )
    _arguments.add_infrastructure(parser)
    return show(parser.parse_args(arguments))


def show(chosen: argparse.Namespace) -> int:
    """Print the changes and the estimate."""
    from taxiway.infrastructure import Endpoints
    from taxiway.infrastructure.cost import estimate, prices, total
    from taxiway.infrastructure.plan import plan

    console, wanted = Console(highlight=False), StackSettings.chosen(chosen)
    with open_stack(wanted) as engine:
        changes = engine.preview()
    for change in changes:
        console.print(f"  {SIGNS[change.action]} {change.title}", soft_wrap=True)
        for detail in change.details:
            console.print(f"      {detail}", style="dim", soft_wrap=True)
    console.print(f"{len(changes)} changes" if changes else "Nothing would change.")
    listed = prices()
    config = wanted.configuration()
    lines = estimate(plan(wanted.name, config).resources, listed)
    table = Table(
        title=f"Estimated month, list prices of {listed['as_of']}", title_justify="left", box=SIMPLE_HEAD
    )
    for name in ("resource", "US dollars", "assuming"):
        table.add_column(name, justify="right" if name == "US dollars" else "left")
    for line in lines:
        table.add_row(line.title, f"{line.dollars:,.2f}", line.assumption)
    table.add_row(
        "in all",
        f"{total(lines):,.2f}",
        "nothing, as long as it is on emulators" if Endpoints.of_config(config) else "",
    )
    console.print(table)
    return 0
