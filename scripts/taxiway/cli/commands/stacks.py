"""scripts/stacks: the environments of this checkout and of the user's Pulumi backends."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table

from taxiway.cli import arguments as _arguments
from taxiway.environment.paths import DEFAULT_STACK, Home

EXAMPLES = "  scripts/stacks"


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    _arguments.parser("stacks", "List environments: owner, age, target, cost.", EXAMPLES).parse_args(
        arguments
    )
    from taxiway.infrastructure.stacks import stacks

    table = Table(box=SIMPLE_HEAD)
    for name in ("stack", "owner", "target", "age", "last update", "resources", "USD a month"):
        justify: JustifyMethod = "right" if name in ("resources", "USD a month") else "left"
        # Whose it is must be readable whole, however narrow the terminal.
        table.add_column(name, justify=justify, overflow="fold")
    found, trouble = stacks(Home.of(DEFAULT_STACK).engine)
    for stack in found:
        cost = "?" if stack.dollars is None else f"{stack.dollars:,.2f}"
        updated = stack.updated[:16].replace("T", " ")
        table.add_row(
            stack.name, stack.owner, stack.target, _age(stack.created), updated, str(stack.resources), cost
        )
    console = Console(highlight=False)
    console.print(table if found else "There is no environment here. Create one: scripts/up")
    for sentence in trouble:
        console.print(sentence, soft_wrap=True)
    return 1 if trouble else 0


def _age(created: str) -> str:
    if not created:
        return "?"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    days, hours = divmod(int(seconds // 3600), 24)
    return f"{days} d {hours} h" if days else f"{hours} h {int(seconds % 3600 // 60)} min"
