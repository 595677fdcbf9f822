"""The report as a picture: bars by section, ours, the limits and the peers. Plain SVG."""

from __future__ import annotations

from html import escape
from typing import Any

from bench.report import figure

Json = dict[str, Any]
_WIDTH, _LABEL, _BAR, _GAP = 920, 330, 18, 6
_COLOURS = {"ours": "#f0a500", "limit": "#9aa5b1", "peer": "#4c78a8", "note": "#cfd8e0"}


def draw(sections: dict[str, Json], titles: dict[str, str]) -> str:
    """Bars of the sections in which several take part, each to the scale of its own."""
    parts: list[str] = []
    top = 10
    for name, section in sections.items():
        told = [c for c in section.get("contestants", []) if "rate" in c and "role" in c]
        if len(told) > 1:
            parts += _section(f"{titles[name]} ({section['unit']})", told, top)
            top += 34 + len(told) * (_BAR + _GAP) + 16
    style = "font-family: system-ui, sans-serif; font-size: 13px; fill: #24292f"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" style="{style}">'
    background = f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, background, *parts, "</svg>"]) + "\n"


def _section(title: str, told: list[Json], top: int) -> list[str]:
    most = max(c["rate"] for c in told)
    parts = [f'<text x="10" y="{top + 18}" font-weight="bold">{escape(title)}</text>']
    for number, c in enumerate(sorted(told, key=lambda c: -c["rate"])):
        y = top + 34 + number * (_BAR + _GAP)
        length = max(1, round((_WIDTH - _LABEL - 90) * c["rate"] / most))
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(c["name"])}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{length}" height="{_BAR}" fill="{_COLOURS[c["role"]]}"/>',
            f'<text x="{_LABEL + length + 6}" y="{y + 14}">{escape(figure(c["rate"]))}</text>',
        ]
    return parts
