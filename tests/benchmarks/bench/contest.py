"""Contestants that do the same work in turn, in random order, each result checked."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.processes import CommandFailed, Run, run
from taxiway.console.progress import Progress

Role = Literal["ours", "limit", "peer", "note"]


class Wrong(Exception):  # noqa: N818 - it says what happened
    """A result that is not what the work should have come to."""


def nothing() -> None:
    """What most contestants need before and after."""


@dataclass(frozen=True)
class Contestant:
    """One way of doing the work; `amount` of it (rows, bytes) in one run.

    `check` raises Wrong where the result is not as it should be. `server_cpu` reads the CPU seconds of
    the server that works for it. A *note* is shown and compared with nobody.
    """

    name: str
    role: Role
    command: Sequence[str | Path]
    amount: float
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = nothing
    check: Callable[[Run], None] = lambda _: None
    server_cpu: Callable[[], float] = lambda: 0.0
    tries: int | None = None


@dataclass
class Result:
    """The runs of a contestant; `failure` says why there are none, or not all."""

    contestant: Contestant
    runs: list[Run] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def rates(self) -> list[float]:
        """Amount a second of each run."""
        return [self.contestant.amount / run.seconds for run in self.runs]

    def as_json(self) -> dict[str, Any]:
        """The figures: medians, with the extremes of the rate."""
        told: dict[str, Any] = {"name": self.contestant.name, "role": self.contestant.role}
        if self.failure:
            told["failed"] = self.failure
        if not self.runs:
            return told
        rates = self.rates
        return told | {
            "rate": statistics.median(rates),
            "rate_min": min(rates),
            "rate_max": max(rates),
            "whole_rate": statistics.median(self.contestant.amount / run.whole_s for run in self.runs),
            "cpu_s": statistics.median(run.cpu_s for run in self.runs),
            "server_cpu_s": statistics.median(self.server),
            "peak_rss_mb": max(run.peak_rss_mb for run in self.runs),
            "amount": self.contestant.amount,
            "runs": len(self.runs),
        }


def race(contestants: Sequence[Contestant], n: int, seed: int, progress: Progress) -> list[Result]:
    """Let each do the work `n` times, all in each round, in an order that is new every time.

    One that fails is told so and left out of the rounds that follow.
    """
    order, results = random.Random(seed), [Result(contestant) for contestant in contestants]
    for number in range(n):
        for result in order.sample(results, len(results)):
            if not result.failure and number < (result.contestant.tries or n):
                _one(result, f"{number + 1}/{n}", progress)
    return results


def _one(result: Result, number: str, progress: Progress) -> None:
    contestant = result.contestant
    try:
        contestant.prepare()
        before = contestant.server_cpu()
        done = run(contestant.command, contestant.environment)
        server = contestant.server_cpu() - before
        contestant.check(done)
    except (CommandFailed, Wrong, OSError) as error:
        result.failure = str(error)
        progress.say(f"{number}  {contestant.name:42} [red]{error}[/]", "failed")
        return
    result.runs.append(done)
    result.server.append(server)
    rate = contestant.amount / done.seconds
    progress.say(f"{number}  {contestant.name:42} {done.seconds:7.2f} s {rate:14,.0f}/s", "done")
