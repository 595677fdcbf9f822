"""An event loop in which nobody sleeps: with nothing else left to do, its clock jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its `time()` says how long the sleeps so far would have taken. Work in threads is waited for really."""

    def __init__(self) -> None:
        super().__init__()
        self._jumped = 0.0

    def time(self) -> float:
        return super().time() + self._jumped

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._jumped += max(0.0, self._scheduled[0].when() - self.time())
        super()._run_once()


def run(main: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Run `main`; returns what it returns, and the seconds that it believes to have taken."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        started = loop.time()
        return runner.run(main), loop.time() - started
