"""Tables fit a terminal of eighty characters, and a pipe: what a row is about is never cut off."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from taxiway.console.tables import show_datasets

ROW: dict[str, Any] = {
    "dataset": "fhvhv", "period": "2023-11", "typed_rows": 19_999_998, "quarantined_rows": 2,
    "warehouse_rows": 19_999_998, "postgres_rows": 19_999_998, "raw_bytes": 560_123_456,
    "state": "partial", "audit_failures": 0, "audit_warnings": 0,
}  # fmt: skip


def shown(width: int, **more: Any) -> str:
    console = Console(file=io.StringIO(), width=width)
    show_datasets(console, [{**ROW, **more}])
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
def test_a_row_is_shown_whole(width: int) -> None:
    line = next(line for line in shown(width).splitlines() if "fhvhv" in line)
    assert line.split() == [
        "fhvhv", "2023-11", "19,999,998", "2", "19,999,998", "19,999,998", "560.1", "MB", "partial"
    ]  # fmt: skip


def test_what_audits_complain_about_is_said_below() -> None:
    text = shown(80, audit_failures=1, audit_warnings=12)
    assert text.splitlines()[-1] == "fhvhv 2023-11: audits 1 failed, 12 warned"
    assert "audits" not in shown(80)


def test_audits_that_complain_are_named_with_what_they_found() -> None:
    text = shown(80, audit_failures=0, audit_warnings=1, audits=["null_share: tip [red]50 %[/] null"])
    assert text.splitlines()[-1] == "fhvhv 2023-11: audits 1 warned: null_share: tip [red]50 %[/] null"


def test_generated_rows_are_not_taken_for_real_ones() -> None:
    line = "fhvhv: generated sample data. To load published files: scripts/up --source tlc"
    assert shown(80, sample=True).splitlines()[-1] == line
    assert "sample" not in shown(80, sample=False)


def test_a_row_that_failed_says_why_and_how_to_run_it_again() -> None:
    failure = {
        "dag": "fhvhv_to_lake",
        "at": "",
        "reason": "fhvhv_to_lake conform: truncated",
        "retry": "scripts/run fhvhv 2023-11",
    }
    lines = shown(80, state="failed", failures=[failure]).splitlines()
    assert lines[-2] == "fhvhv 2023-11 failed: fhvhv_to_lake conform: truncated"
    assert lines[-1] == "Run again: scripts/run fhvhv 2023-11"
    kept = shown(80, state="loaded", failures=[failure])
    assert "fhvhv 2023-11 is loaded, but its latest run failed: fhvhv_to_lake conform" in kept


def test_unknown_counts_are_told_apart_from_none() -> None:
    text = shown(80, typed_rows=None, postgres_rows=0)
    assert "-" in text.split()
    assert "0" in text.split()
