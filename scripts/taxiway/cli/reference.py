"""All commands at a glance, and docs/commands.md: what each says of itself.

scripts/_bootstrap.py prints from that page where nothing is installed yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from taxiway.cli.main import group
from taxiway.cli.options import NAMES
from taxiway.console.examples import named, names, neutral
from taxiway.environment.home import REPOSITORY

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Start, look after, stop": ("up", "status", "doctor", "logs", "down"),
    "Load data": ("run", "alerts", "airflow"),
    "Look at data": ("sql", "lake", "quarantine", "notebook", "mcp"),
    "Build your own": ("init", "new", "schema", "contract", "try", "dbt"),
    "Deploy to Google Cloud": ("preview", "drift", "stacks", "env"),
    "Work on this repository": ("help", "test", "check", "docs", "bench", "upgrade"),
}
_WIDTH: Final = 80
_HEAD: Final = """\
# Commands

`scripts/docs` writes this page from the commands' own help; `scripts/docs --check` says whether it is
current. `scripts/help` prints the overview, `scripts/COMMAND --help` what is below, also before anything is
installed.

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 this machine cannot run it (nothing was started), 4 a
period is not published yet, 5 something has drifted, 130 interrupted. Errors are on standard error: one
sentence, then the remedy.

In bash (4.4 or newer), Tab completes commands, options and datasets after

```sh
source scripts/completion.bash
```

For zsh and fish, `_TAXIWAY_COMPLETE=zsh_source .venv/bin/taxiway` (or `fish_source`) prints a script that
completes `taxiway COMMAND …`, which is `scripts/COMMAND …`: put `.venv/bin` on your PATH.
"""


def overview(folder: Path) -> str:
    """Every command of a checkout with one line on what it is for, in groups."""
    commands = group().commands
    lines = ["Commands are files in scripts/. scripts/COMMAND --help explains one."]
    for title, listed in SECTIONS.items():
        lines += ["", f"{title}:"]
        here = [name for name in listed if (folder / "scripts" / name).exists()]
        lines += [f"  {name:10}  {commands[name].get_short_help_str(_WIDTH)}" for name in here]
    return "\n".join(lines) + "\n"


def help_of(command: click.Command, known: Mapping[str, str] | None = None) -> str:
    """Return a command's help; `known` are names for the example's, if not this checkout's."""
    context = click.Context(command, info_name=f"scripts/{command.name}", terminal_width=_WIDTH)
    if known is not None:
        context.meta[NAMES] = known
    return command.get_help(context) + "\n"


def page(folder: Path = REPOSITORY) -> str:
    """Return docs/commands.md; a checkout without the example has the names that its pages have."""
    known = neutral() if names(folder / "plugins") else {}
    return named("".join(_parts(folder, known)), known)


def _parts(folder: Path, known: Mapping[str, str]) -> Iterator[str]:
    commands = group().commands
    yield f"{_HEAD}\n## Overview\n\n```text\n{overview(folder)}```\n"
    for name in (name for listed in SECTIONS.values() for name in listed):
        if (folder / "scripts" / name).exists():
            yield f"\n## scripts/{name}\n\n```text\n{help_of(commands[name], known)}```\n"
