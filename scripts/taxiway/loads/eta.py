"""How far a long load is: units done, how fast, how long it will take. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """Counts units; `started` and `now` are seconds on the same clock."""

    total: int
    started: float
    done: int = 0

    def tell(self, now: float) -> str:
        """`12 of 288, 21.4 a minute, 13 min left`."""
        minutes = (now - self.started) / 60
        counted = f"{self.done} of {self.total}"
        if not self.done or minutes <= 0 or self.done == self.total:
            return counted
        rate = self.done / minutes
        return f"{counted}, {rate:.1f} a minute, {_span((self.total - self.done) / rate)} left"


def _span(minutes: float) -> str:
    if minutes < 1:
        return "less than a minute"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
