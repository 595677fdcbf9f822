"""Commands that are printed, as a remedy or a next step, name the stack that the called command is about.

They are in sentences all over the product, most of which do not know a stack. Whatever a user sees goes
through `Hints.named`: by `console.progress`, and for errors by `cli.main`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from taxiway.environment.home import DEFAULT_STACK

# Those that take a stack, unless one is named already; never a part of a path.
_COMMAND = re.compile(
    r"(?<![\w./-])scripts/(airflow|alerts|dbt|doctor|down|drift|env|lake|logs|mcp|new|notebook|preview|quarantine|run"
    r"|schema|sql|status|try|up)"
    r"\b(?! --stack)"
)


@dataclass
class Hints:
    """What is shown by this process; `stack` is set from the command line."""

    stack: str = DEFAULT_STACK

    def named(self, text: str) -> str:
        """The text with `--stack NAME` behind each command in it, where that is not the one meant anyway."""
        if self.stack == DEFAULT_STACK:
            return text
        # The one command that takes it as an argument, for it is about nothing else.
        return _COMMAND.sub(lambda m: f"{m[0]}{'' if m[1] == 'env' else ' --stack'} {self.stack}", text)


HINTS = Hints()
