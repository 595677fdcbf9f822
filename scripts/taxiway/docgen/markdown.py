"""Markdown that is made: tables, and pages in which code keeps some parts current."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

Parts = Mapping[str, Callable[[], str]]
"""The made parts of a page, by name."""
_BLOCK: Final = re.compile(r"(<!-- made (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def current(text: str, parts: Parts) -> str:
    """Return a page with what stands between `<!-- made NAME -->` and `<!-- end -->` as the code has it."""
    return _BLOCK.sub(lambda match: f"{match[1]}{parts[match['name']]()}{match[3]}", text)


def named(text: str) -> list[str]:
    """Return the names of the made parts of a page, in its order."""
    return [match["name"] for match in _BLOCK.finditer(text)]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table; a `|` in a cell stays a character."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def codes(names: Iterable[str]) -> str:
    """Return names as code, with commas; empty ones are left out."""
    return ", ".join(f"`{name}`" for name in names if name)
