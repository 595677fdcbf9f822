"""The sections' figures as tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

Json = dict[str, Any]


def show(console: Console, title: str, section: Json) -> None:
    """One section: its contestants, ratios and targets."""
    console.print()
    if "failed" in section:
        console.print(f"[bold]{title}[/]  [red]failed: {section['failed']}[/]")
        return
    console.print(_contestants(title, section))
    for name, words in (("ratio_to_limit", "of the limit"), ("ratio_to_best_peer", "times the best peer")):
        if section.get(name) is not None:
            console.print(f"  {section[name]:.2f} {words}")
    for target in section["targets"]:
        console.print(f"  {target_line(target)}")


def _contestants(title: str, section: Json) -> Table:
    table = Table(title=f"{title} ({section['unit']})", title_justify="left", box=None, pad_edge=False)
    table.add_column("contestant")
    for name in ("min", "median", "max", "CPU s", "server", "MB"):
        table.add_column(name, justify="right")
    for told in section["contestants"]:
        if "rate" not in told:
            table.add_row(told["name"], "", f"[red]{told['failed']}[/]")
            continue
        table.add_row(
            told["name"], *(figure(told.get(key)) for key in ("rate_min", "rate", "rate_max")),
            *(seconds(told.get(key)) for key in ("cpu_s", "server_cpu_s")), figure(told.get("peak_rss_mb")),
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
