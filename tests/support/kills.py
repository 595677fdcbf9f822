"""Processes that are killed at their work, as a machine's end or an operator's hand does it: SIGKILL."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
from requests.adapters import HTTPAdapter

# Steps of a process that others can see the effects of.
STEPS = ((HTTPAdapter, "send"), (psycopg.Connection, "execute"), (psycopg.Copy, "write"))


class AfterStep:
    """Kills a process when it has done so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps, self.missed = steps, False

    def __call__(self, act: Callable[[], object]) -> None:
        def dying() -> None:
            count = itertools.count(1)
            for owner, name in STEPS:
                setattr(owner, name, self._dying(getattr(owner, name), count))
            act()

        self.missed = not was_killed(fork(dying))

    def _dying(self, real: Callable[..., object], count: Iterator[int]) -> Callable[..., object]:
        def act(*args: object, **how: object) -> object:
            result = real(*args, **how)
            if next(count) == self.steps:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return act

    def __str__(self) -> str:
        return f"killed after step {self.steps}"


class AtTime:
    """Kills a process so many seconds after its start."""

    missed = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, act: Callable[[], object]) -> None:
        child = fork(act)
        time.sleep(self.seconds)
        os.kill(child, signal.SIGKILL)
        self.missed = not was_killed(child)

    def __str__(self) -> str:
        return f"killed after {self.seconds:.3f} s"


def fork(act: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    return child


def was_killed(child: int) -> bool:
    """Whether it was; otherwise it must have done its work."""
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, "it failed of itself"
    return os.WIFSIGNALED(status)
