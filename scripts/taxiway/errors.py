"""What a verb may end with: a sentence, a remedy, an exit code."""

from __future__ import annotations


class TaxiwayError(Exception):
    """The verb failed. `remedy` says what to do; shown below the message."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class UsageError(TaxiwayError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class PreflightError(TaxiwayError):
    """The machine cannot run it; nothing was started."""

    exit_code = 3
