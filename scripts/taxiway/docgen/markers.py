"""Documentation whose tables and pictures are made from the code that knows the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

Parts = Mapping[str, Callable[[], str]]
_BLOCK: Final = re.compile(r"(<!-- made (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def current(text: str, parts: Parts) -> str:
    """Return a page with what stands between `<!-- made NAME -->` and `<!-- end -->` as the code has it."""
    return _BLOCK.sub(lambda match: f"{match[1]}{parts[match['name']]()}{match[3]}", text)


def named(text: str) -> list[str]:
    """Return the names of what is made in a page."""
    return [match["name"] for match in _BLOCK.finditer(text)]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)
