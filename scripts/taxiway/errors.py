"""How a command fails: a sentence, a remedy, an exit code.

TaxiwayError (1)
├── UsageError (2)
└── PreflightError (3)

Anything else that leaves a command is a defect, and its traceback goes to a file.
"""

from __future__ import annotations


class TaxiwayError(Exception):
    """The command failed. The message says what and why, `remedy` what the user can do about it."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class UsageError(TaxiwayError):
    """The command line asks for something that does not exist or contradicts itself."""

    exit_code = 2


class PreflightError(TaxiwayError):
    """Nothing was started: this machine cannot run it."""

    exit_code = 3
