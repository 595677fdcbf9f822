"""scripts/drift: what was changed behind Pulumi's back."""

from __future__ import annotations

from rich.console import Console

from taxiway.cli import arguments as _arguments
from taxiway.errors import TaxiwayError
from taxiway.targets.stack import StackSettings, open_stack

DRIFTED = 5
EXAMPLES = """\
  scripts/drift                    the local stack
  scripts/drift --stack alice      a developer's
exit code: 0 nothing drifted, 5 something did"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("drift", "Show what was changed behind Pulumi's back.", EXAMPLES)
    _arguments.add_infrastructure(parser)
    console = Console(highlight=False)
    wanted = StackSettings.chosen(parser.parse_args(arguments))
    with open_stack(wanted) as engine:
        # A misspelt name must not pass for a stack that has not drifted.
        if not engine.exists():
            raise TaxiwayError(f"there is no stack {wanted.name}", "Those there are: scripts/stacks")
        found = engine.drift()
    for drift in found:
        console.print(f"  {drift.title}", soft_wrap=True)
        for detail in drift.details:
            console.print(f"      {detail}", soft_wrap=True)
    console.print(f"{len(found)} drifted; scripts/up puts them back." if found else "Nothing has drifted.")
    return DRIFTED if found else 0
