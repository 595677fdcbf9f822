"""The sections' figures: tables on the terminal, docs/performance.md, and its picture (plain SVG)."""

from __future__ import annotations

from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import is_busy

Json = dict[str, Any]
_RATIOS = (("ratio_to_limit", "of the limit"), ("ratio_to_best_peer", "times the best peer"))
_INTRODUCTION = """\
# Performance

Written by `scripts/bench all`; not edited by hand. Every figure is measured on the machine below, each limit
in the same run as what it is compared with, contestants in random order, every result checked (rows, sums).
Rates are medians. *CPU s* is the contestant's own, *server* that of the server which worked for it, *MB* the
highest resident memory of the whole process tree, *read* and *written* the MB that calls of read and write of
it and its servers moved: files, pipes, and sockets of the programs that use these calls for them. *Private
pages* are what a task does not share with its worker.
What is missed (✗), and what was tried: [decisions/0021](decisions/0021-where-the-time-goes.md).
"""
_MEGABYTES = ("peak_rss_mb", "read_mb", "written_mb")
_WIDTH, _LABEL, _BAR, _GAP = 1060, 470, 18, 6
_COLOURS = {"ours": "#f0a500", "limit": "#9aa5b1", "peer": "#4c78a8", "note": "#cfd8e0"}


def show(console: Console, title: str, section: Json) -> None:
    """One section: its contestants, ratios and targets."""
    console.print()
    if "failed" in section:
        console.print(f"[bold]{title}[/]  [red]failed: {section['failed']}[/]")
        return
    console.print(_contestants(title, section))
    for name, text in _RATIOS:
        if section.get(name) is not None:
            console.print(f"  {section[name]:.2f} {text}")
    for target in section["targets"]:
        console.print(f"  {target_line(target)}")


def _contestants(title: str, section: Json) -> Table:
    table = Table(title=f"{title} ({section['unit']})", title_justify="left", box=None, pad_edge=False)
    table.add_column("contestant")
    for name in ("min", "median", "max", "CPU s", "server", "MB", "read", "written"):
        table.add_column(name, justify="right")
    for found in section["contestants"]:
        if "rate" not in found:
            table.add_row(found["name"], "", f"[red]{found['failed']}[/]")
            continue
        table.add_row(
            found["name"], *(figure(found.get(key)) for key in ("rate_min", "rate", "rate_max")),
            *(seconds(found.get(key)) for key in ("cpu_s", "server_cpu_s")),
            *(figure(found.get(key)) for key in _MEGABYTES),
        )  # fmt: skip
    return table


def target_line(target: Json) -> str:
    """`✓ 0.97 of the limit (at least 0.95)`."""
    bound = "at_least" if "at_least" in target else "at_most"
    value = "not measured" if target["value"] is None else f"{target['value']:.3g}"
    mark = "✓" if target["reached"] else "✗"
    return f"{mark} {value} {target['text']} ({bound.replace('_', ' ')} {target[bound]:g})"


def figure(value: float | None) -> str:
    """A number in a table; large ones in thousands or millions."""
    if value is None:
        return ""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= 10 * size or (size == 1e6 and abs(value) >= size):
            return f"{value / size:,.1f}{letter}"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2f}"


def seconds(value: float | None) -> str:
    """Seconds in a table."""
    return "" if value is None else f"{value:.2f}"


def page(report: Json, titles: dict[str, str]) -> str:
    """The page, in Markdown."""
    parts = [_INTRODUCTION, _machine(report["machine"]), "![The figures as bars](images/performance.svg)\n"]
    for name, section in report["sections"].items():
        parts.append(f"## {titles[name]}\n")
        parts.append(f"Not measured: {section['failed']}\n" if "failed" in section else _part(section))
    return "\n".join(parts)


def _machine(machine: Json) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    busy = "\n**The machine was busy with other work: the seconds say little.**\n" if is_busy(machine) else ""
    return (
        f"{machine['date'][:10]}, commit {machine['commit']}: {machine['cores']} cores of "
        f"{machine['processor']}, {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}, load {machine['load']}.\n"
        f"{versions}.\n{busy}"
    )


def _part(section: Json) -> str:
    lines = [
        f"| {section['unit']} | median | min to max | CPU s | server | MB | read | written |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(found) for found in section["contestants"]),
        "",
    ]
    for key, text in _RATIOS:
        if section.get(key) is not None:
            lines.append(f"- **{section[key]:.2f}** {text}")
    lines += [f"- {target_line(target)}" for target in section["targets"]]
    lines += [f"- {name.replace('_', ' ')}: {text}" for name, text in _facts(section)]
    return "\n".join(lines) + "\n"


def _row(found: Json) -> str:
    name = f"**{found['name']}**" if found.get("role") == "ours" else found["name"]
    if "rate" not in found:
        return f"| {name} | failed: {found.get('failed', '')} | | | | | | |"
    spread = f"{figure(found['rate_min'])} to {figure(found['rate_max'])}" if "rate_min" in found else ""
    cells = [
        figure(found["rate"]), spread, seconds(found.get("cpu_s")), seconds(found.get("server_cpu_s")),
        *(figure(found.get(key)) for key in _MEGABYTES),
    ]  # fmt: skip
    return f"| {name} | {' | '.join(cells)} |"


def _facts(section: Json) -> list[tuple[str, str]]:
    known = {"unit", "contestants", "targets", "ratio_to_limit", "ratio_to_best_peer", "failed"}
    return [
        (name, _text(value)) for name, value in section.items() if name not in known and value is not None
    ]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_text(inner) for inner in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def picture(sections: dict[str, Json], titles: dict[str, str]) -> str:
    """Bars of the sections in which several take part, each to the scale of its own."""
    parts: list[str] = []
    top = 10
    for name, section in sections.items():
        found = [c for c in section.get("contestants", []) if "rate" in c and "role" in c]
        if len(found) > 1:
            parts += _bars(f"{titles[name]} ({section['unit']})", found, top)
            top += 34 + len(found) * (_BAR + _GAP) + 16
    style = "font-family: system-ui, sans-serif; font-size: 13px; fill: #24292f"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" style="{style}">'
    background = f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, background, *parts, "</svg>"]) + "\n"


def _bars(title: str, found: list[Json], top: int) -> list[str]:
    most = max(c["rate"] for c in found)
    parts = [f'<text x="10" y="{top + 18}" font-weight="bold">{escape(title)}</text>']
    for number, c in enumerate(sorted(found, key=lambda c: -c["rate"])):
        y = top + 34 + number * (_BAR + _GAP)
        length = max(1, round((_WIDTH - _LABEL - 90) * c["rate"] / most))
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(c["name"])}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{length}" height="{_BAR}" fill="{_COLOURS[c["role"]]}"/>',
            f'<text x="{_LABEL + length + 6}" y="{y + 14}">{escape(figure(c["rate"]))}</text>',
        ]
    return parts
