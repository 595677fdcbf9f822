"""Every wait has an end: the one loop that polls, and the one way to call another program."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taxiway.errors import TaxiwayError

LOOK = "See scripts/status and scripts/logs COMPONENT."
# Seconds after which a wait says what it is waiting for, and again after as many.
REMINDER = 15.0


@dataclass(frozen=True)
class Patience:
    """How long to wait for something, and what happens meanwhile.

    `watch` is called between two polls and may raise: a component that has given up ends the wait at
    once. `remind` is given a line after `first` seconds, then now and then: a user sees what takes so long.
    """

    seconds: float
    remedy: str = LOOK
    watch: Callable[[], None] = lambda: None
    remind: Callable[[str], None] = lambda _: None
    first: float = REMINDER
    every: float = 0.1
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until(self, condition: Callable[[], bool], complaint: Callable[[], str]) -> None:
        """Return once `condition` holds; TaxiwayError with the complaint when time is up."""
        started = self.clock()
        last = started + self.first - REMINDER
        while not condition():
            self.watch()
            now = self.clock()
            if now - started > self.seconds:
                raise TaxiwayError(f"{complaint()} (after {self.seconds:.0f} s)", self.remedy)
            if now - last > REMINDER:
                last = now
                self.remind(f"still waiting: {complaint()}")
            self.sleep(self.every)


def run(
    command: Sequence[str | Path], seconds: float = 60, remedy: str = LOOK, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program with its output captured as text; TaxiwayError if it takes more than `seconds`.

    Whether it failed is for the caller to read from `returncode`.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, **options)
    except subprocess.TimeoutExpired:
        name = " ".join(map(str, [Path(command[0]).name, *command[1:3]]))
        raise TaxiwayError(f"`{name}` did not end within {seconds:.0f} s", remedy) from None
