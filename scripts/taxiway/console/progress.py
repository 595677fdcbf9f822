"""What the user sees while something takes long: one line for each thing that happened, with its time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from rich.console import Console

MARKS = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "info": "[dim]·[/]"}


@dataclass
class Progress:
    """Lines on `console`, each with the seconds since the start. Safe to use from several threads."""

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    started: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def say(self, text: str, mark: str = "info") -> None:
        """One line."""
        with self._lock:
            # The terminal wraps a line better than Rich, which would cut a command in two.
            self.console.print(f"[dim]{self.elapsed:6.1f} s[/]  {MARKS[mark]} {text}", soft_wrap=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A line when the phase is over, with how long it took."""
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            self.say(f"[red]{name}[/]", "failed")
            raise
        self.say(f"{name} [dim]({time.monotonic() - begun:.1f} s)[/]", "done")
