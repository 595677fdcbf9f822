"""`docs/performance.md` from a report."""

from __future__ import annotations

from typing import Any

from bench.machine import is_busy
from bench.report import figure, seconds, target_line

Json = dict[str, Any]
_INTRODUCTION = """\
# Performance

Written by `scripts/bench all`; not edited by hand. Every figure is measured on the machine below, each limit
in the same run as what is held against it, contestants in random order, every result checked (rows and sums).
Rates are medians. *CPU s* is the contestant's own, *server* that of the server which worked for it, *MB* the
highest resident memory of the whole process tree.
"""


def write(report: Json, titles: dict[str, str]) -> str:
    """The page, in Markdown."""
    parts = [_INTRODUCTION, _machine(report["machine"]), "![The figures as bars](images/performance.svg)\n"]
    for name, section in report["sections"].items():
        parts.append(f"## {titles[name]}\n")
        parts.append(f"Not measured: {section['failed']}\n" if "failed" in section else _section(section))
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


def _section(section: Json) -> str:
    lines = [
        f"| {section['unit']} | median | min to max | CPU s | server | MB |",
        "|---|---:|---:|---:|---:|---:|",
        *(_row(told) for told in section["contestants"]),
        "",
    ]
    for key, words in (("ratio_to_limit", "of the limit"), ("ratio_to_best_peer", "times the best peer")):
        if section.get(key) is not None:
            lines.append(f"- **{section[key]:.2f}** {words}")
    lines += [f"- {target_line(target)}" for target in section["targets"]]
    lines += [f"- {name.replace('_', ' ')}: {text}" for name, text in _facts(section)]
    return "\n".join(lines) + "\n"


def _row(told: Json) -> str:
    name = f"**{told['name']}**" if told.get("role") == "ours" else told["name"]
    if "rate" not in told:
        return f"| {name} | failed: {told.get('failed', '')} | | | | |"
    spread = f"{figure(told['rate_min'])} to {figure(told['rate_max'])}" if "rate_min" in told else ""
    cells = [
        figure(told["rate"]), spread, seconds(told.get("cpu_s")), seconds(told.get("server_cpu_s")),
        figure(told.get("peak_rss_mb")),
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
