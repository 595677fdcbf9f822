"""What the user sees: lines with their time, and text of which nothing is a command to the terminal.

Names, reasons and messages come from files and servers. Whatever they hold, a terminal shows it and does not
obey it: no markup of Rich, no link, no escape sequence.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from rich.console import Console
from rich.text import Text

from taxiway.console.hints import HINTS

MARKS = {"done": ("✓", "green"), "failed": ("✗", "red"), "info": ("·", "dim")}
# C0 and C1 controls, what turns the direction of writing, and halves of surrogates, which no file can hold.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: object, *, keep: str = "") -> str:
    r"""The text with control characters as escapes, such as `\x1b`; those in `keep` stay what they are."""
    return _UNSAFE.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), str(text)
    )


def shown(text: object, *, keep: str = "") -> str:
    """The text as a user sees it: plain, its commands with the stack that they are about."""
    return plain(HINTS.named(str(text)), keep=keep)


def styled(text: object, style: str = "") -> Text:
    """One line of text, whatever is in it; `style` is ours, such as `red`."""
    return Text(shown(text), style)


class Screen(Console):
    """A console on which a str is only text; what is to have a style is given as `styled` text."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Rich calls this for every str that it prints: lines, cells, headings, titles."""
        return super().render_str(
            shown(text, keep="\n"), **{**options, "markup": False, "emoji": False, "highlight": False}
        )


@dataclass
class Progress:
    """Lines on `console`, each with the seconds since the start. Safe to use from several threads."""

    console: Console = field(default_factory=lambda: Screen(stderr=True))
    started: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def say(self, text: object, mark: str = "info", *, style: str = "", detail: str = "") -> None:
        """One line, `detail` dim behind it."""
        parts = [(f"{self.elapsed:6.1f} s  ", "dim"), MARKS[mark], (f" {shown(text)}", style)]
        if detail:
            parts.append((f" ({plain(detail)})", "dim"))
        with self._lock:
            # The terminal wraps a line better than Rich, which would cut a command in two.
            self.console.print(Text.assemble(*parts), soft_wrap=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A line when the phase is over, with how long it took."""
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            self.say(name, "failed", style="red")
            raise
        self.say(name, "done", detail=f"{time.monotonic() - begun:.1f} s")
