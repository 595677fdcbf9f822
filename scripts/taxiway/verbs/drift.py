"""scripts/drift: what was changed behind Pulumi's back."""

from __future__ import annotations

from rich.console import Console

from taxiway.stack import StackSettings, open_stack
from taxiway.verbs import _arguments

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
    with open_stack(StackSettings.chosen(parser.parse_args(arguments))) as engine:
        found = engine.drift()
    for drift in found:
        console.print(f"  {drift.title}", soft_wrap=True)
        for detail in drift.details:
            console.print(f"      {detail}", soft_wrap=True)
    console.print(f"{len(found)} drifted; scripts/up puts them back." if found else "Nothing has drifted.")
    return DRIFTED if found else 0
