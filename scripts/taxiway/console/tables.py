"""Tables for people: what is loaded where, the first rows of a mart, what runs.

Every cell is `styled` text: on any console, none of it is read as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from taxiway.console.progress import styled

# Columns from which on a table need not be dense to be shown whole.
_ROOMY = 100
STATE_STYLES = {"loaded": "green", "partial": "yellow", "RUNNING": "green", "STOPPED": "dim"}


def show_datasets(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows by dataset, period and store; below them what audits and unknown columns complain about."""
    if not rows:
        return
    table = Table(
        title="What is loaded (rows)", title_justify="left", header_style="bold", box=SIMPLE_HEAD,
        padding=(0, int(console.width >= _ROOMY)),
    )  # fmt: skip
    # Rich would rather cut a period in two than let a line be longer than the terminal.
    for name in ("dataset", "period"):
        table.add_column(name, no_wrap=True)
    for name in ("lake", "quarantine", "warehouse", "Postgres", "raw file"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row in rows:
        counts = (row[f"{name}_rows"] for name in ("typed", "quarantined", "warehouse", "postgres"))
        numbers = ["-" if count is None else f"{count:,}" for count in counts]
        size = "-" if row["raw_bytes"] is None else decimal(row["raw_bytes"])
        named = [styled(row["dataset"]), styled(row["period"] or "")]
        table.add_row(*named, *numbers, size, _state(row["state"]))
    console.print(table)
    for row in rows:
        _show_remarks(console, row)
    if sample := list(dict.fromkeys(row["dataset"] for row in rows if row.get("sample"))):
        console.print(styled(about_sample(sample), "yellow"), soft_wrap=True)
    broken = list(dict.fromkeys(failure["retry"] for row in rows for failure in row.get("failures", ())))
    if broken:
        shown = broken[0] if len(broken) == 1 else f"scripts/run --failed   (or one: {broken[0]})"
        console.print(styled(f"Run again: {shown}", "bold"), soft_wrap=True)


def about_sample(names: Sequence[str]) -> str:
    """A sentence about datasets with rows that nobody is to take for real ones."""
    return f"{', '.join(names)}: generated sample data. To load published files: scripts/up --source tlc"


def _show_remarks(console: Console, row: Mapping[str, Any]) -> None:
    """What is to be said of a partition beside its counts."""
    partition = f"{row['dataset']} {row['period'] or ''}".strip()
    found = [(row["audit_failures"], "failed", "red"), (row["audit_warnings"], "warned", "yellow")]
    if judged := [styled(f"{count} {word}", style) for count, word, style in found if count]:
        which = f": {'; '.join(row['audits'])}" if row.get("audits") else ""
        line = Text.assemble(styled(f"{partition}: audits "), Text(", ").join(judged), styled(which))
        console.print(line, soft_wrap=True)
    for failure in row.get("failures", ()):
        kept = " is loaded, but its latest run failed" if row["state"] == "loaded" else " failed"
        console.print(styled(f"{partition}{kept}: {failure['reason']}", "red"), soft_wrap=True)
    if row.get("drift"):
        unknown = f"{partition} has columns that the catalogue does not know: {', '.join(row['drift'])}"
        console.print(styled(unknown, "yellow"))


def show_rows(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Some rows of a table, as they are."""
    if not rows:
        return
    table = Table(title=styled(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for name, value in rows[0].items():
        table.add_column(styled(name), justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        table.add_row(*(styled(_number(value)) for value in row.values()))
    console.print(table)


def show_components(console: Console, rows: Sequence[Mapping[str, str]]) -> None:
    """Name, state and address of each process."""
    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for name in ("component", "state", "address"):
        table.add_column(name)
    for row in rows:
        table.add_row(styled(row["name"]), _state(row["state"]), styled(row["url"]))
    console.print(table)


def _state(state: str) -> Text:
    return styled(state.lower(), STATE_STYLES.get(state, "red"))


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
