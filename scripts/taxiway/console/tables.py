"""Tables for people: what is loaded where, the first rows of a mart, what runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

# Characters from which on a table need not be dense to be shown whole.
_ROOMY = 100
STATE_STYLES = {"loaded": "green", "partial": "yellow", "RUNNING": "green", "STOPPED": "dim"}


def show_datasets(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows by dataset, month and store."""
    if not rows:
        return
    table = Table(
        title="What is loaded (rows)", title_justify="left", header_style="bold", box=SIMPLE_HEAD,
        padding=(0, int(console.width >= _ROOMY)),
    )  # fmt: skip
    # Rich would rather cut a month in two than let a line be longer than the terminal.
    for name in ("dataset", "month"):
        table.add_column(name, no_wrap=True)
    for name in ("lake", "quarantine", "warehouse", "Postgres", "raw file"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row in rows:
        counts = ("typed_rows", "quarantined_rows", "warehouse_rows", "postgres_rows")
        table.add_row(
            row["dataset"],
            row["month"] or "",
            *(_number(row[c]) for c in counts),
            _size(row["raw_bytes"]),
            _styled(row["state"]),
        )
    console.print(table)
    for row in rows:
        month = f"{row['dataset']} {row['month'] or ''}".strip()
        if audited := _audited(row):
            console.print(f"{month}: audits {audited}")
        if row.get("drift"):
            names = ", ".join(row["drift"])
            console.print(f"[yellow]{month} has columns that the catalogue does not know: {names}[/]")


def show_rows(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Some rows of a table, as they are."""
    if not rows:
        return
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)


def show_components(console: Console, rows: Sequence[Mapping[str, str]]) -> None:
    """Name, state and address of each process."""
    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for name in ("component", "state", "address"):
        table.add_column(name)
    for row in rows:
        table.add_row(row["name"], _styled(row["state"]), row["url"])
    console.print(table)


def _audited(row: Mapping[str, Any]) -> str:
    """What the latest judgement of a month complained about."""
    counts = {"red": ("failed", row["audit_failures"]), "yellow": ("warned", row["audit_warnings"])}
    return ", ".join(f"[{style}]{n} {word}[/]" for style, (word, n) in counts.items() if n)


def _styled(state: str) -> str:
    style = STATE_STYLES.get(state, "red")
    return f"[{style}]{state.lower()}[/]"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    return "-" if value is None else decimal(value)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
