"""From a command line to an exit code.

0 done · 1 failed · 2 wrong command line · 3 this machine cannot run it, nothing was started · 4 a month is
not published yet · 5 something has drifted · 130 interrupted
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from typing import Any

import click

from taxiway.environment.home import DEFAULT_STACK
from taxiway.errors import TaxiwayError

INTERRUPTED = 130
# What an error of the machine's, and not of ours, asks of the user, by its number.
_OF_THE_MACHINE = {
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "Call it as who owns this checkout, or use a clone of your own.",
    ),
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT), "The disk is full: free some, then call it again. It goes on."
    ),
}


def group() -> click.Group:
    """All commands, as `taxiway COMMAND`: the entry point, and what completes a command line."""
    from taxiway.cli.commands import (
        agents,
        airflow,
        catalogue,
        data,
        debugging,
        infrastructure,
        platform,
        projects,
        tools,
        transforming,
    )

    commands = (
        *platform.COMMANDS,
        *airflow.COMMANDS,
        *projects.COMMANDS,
        *catalogue.COMMANDS,
        *data.COMMANDS,
        *agents.COMMANDS,
        *debugging.COMMANDS,
        *transforming.COMMANDS,
        *infrastructure.COMMANDS,
        *tools.COMMANDS,
    )
    return click.Group(
        "taxiway", commands, help="The commands of scripts/: the platform's life, and its data."
    )


def main(arguments: list[str] | None = None, checkout: Any = None, *, wrapped: bool = False) -> int:
    """Run a command; what goes wrong is one sentence and a remedy, never a traceback.

    `wrapped` by a file in scripts/, a command calls itself scripts/COMMAND, else taxiway COMMAND.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(given or ["--help"], checkout, wrapped=wrapped)
    except click.ClickException as error:
        # Errors of the command line know which command they belong to.
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "taxiway"
        return _report(error.format_message(), f"See {where} --help", error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        again = f"scripts/{given[0]}" if given else "it"
        return _report("interrupted", f"Call {again} again: it goes on where it stopped.", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has read enough; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TaxiwayError as error:
        return _report(str(error), error.remedy, error.exit_code)
    except Exception as error:
        return _unexpected(error)


def _run(arguments: list[str], checkout: Any, *, wrapped: bool) -> int:
    # Here, within the `try`: an import that fails is reported like everything else.
    from taxiway.console.hints import HINTS
    from taxiway.targets.target import Checkout

    HINTS.stack = DEFAULT_STACK  # until the command line says otherwise
    known: click.Group = group()
    called: click.Command = known
    name = "taxiway"
    if wrapped and arguments[0] in known.commands:
        called, name, arguments = known.commands[arguments[0]], f"scripts/{arguments[0]}", arguments[1:]
    result = called.main(arguments, prog_name=name, standalone_mode=False, obj=checkout or Checkout())
    return int(result or 0)


def _report(sentence: str, remedy: str, code: int) -> int:
    from taxiway.console.progress import shown  # Rich, which no help text needs

    text = f"taxiway: {sentence}\n" + (f"         {remedy}\n" if remedy else "")
    sys.stderr.write(shown(text, keep="\n"))
    return code


def _unexpected(error: Exception) -> int:
    """A library's own error is as good a sentence; a bug's traceback goes to a file, not to the user."""
    from elt.errors import PipelineError, UsageError

    if isinstance(error, PipelineError):
        # A service says it in its answer.
        full = os.strerror(errno.ENOSPC) in str(error)
        remedy = _OF_THE_MACHINE[errno.ENOSPC] if full else ""
        return _report(str(error), remedy, 2 if isinstance(error, UsageError) else 1)
    if isinstance(error, OSError) and error.filename and error.errno in _OF_THE_MACHINE:
        return _report(f"{error.filename}: {error.strerror}", _OF_THE_MACHINE[error.errno], 1)
    with tempfile.NamedTemporaryFile("w", prefix="taxiway-", suffix=".traceback", delete=False) as file:
        traceback.print_exception(error, file=file)
    remedy = f"This is a defect; its traceback is in {file.name}"
    return _report(f"{type(error).__name__}: {error}", remedy, 1)
