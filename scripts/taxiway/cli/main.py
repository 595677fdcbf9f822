"""From a verb and its arguments to an exit code.

0 done, 1 failed, 2 usage, 3 this machine cannot run it (nothing was started), 4 months are not published.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from taxiway.errors import TaxiwayError

INTERRUPTED = 130


def main(verb: str, arguments: list[str]) -> int:
    """Run a verb; what goes wrong is one sentence and a remedy, never a traceback."""
    module = importlib.import_module(f"taxiway.cli.commands.{verb}")
    try:
        code: int = module.main(arguments)
    except KeyboardInterrupt:
        return _tell("interrupted", f"Call scripts/{verb} again: it goes on where it stopped.", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TaxiwayError as error:
        return _tell(str(error), error.remedy, error.exit_code)
    except Exception as error:
        return _unexpected(error)
    return code


def _tell(sentence: str, remedy: str, code: int) -> int:
    sys.stderr.write(f"taxiway: {sentence}\n" + (f"         {remedy}\n" if remedy else ""))
    return code


def _unexpected(error: Exception) -> int:
    """A library's own error is as good a sentence; a bug's traceback goes to a file, not to the user."""
    from elt.errors import PipelineError, UsageError

    if isinstance(error, PipelineError):
        return _tell(str(error), "", 2 if isinstance(error, UsageError) else 1)
    report = Path(_write_traceback())
    return _tell(f"{type(error).__name__}: {error}", f"This is a defect; its traceback is in {report}", 1)


def _write_traceback() -> str:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="taxiway-", suffix=".traceback", delete=False) as file:
        traceback.print_exc(file=file)
    return file.name
