"""What comes from files and servers is shown by a terminal, and not obeyed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from repository import REPOSITORY
from rich.console import Console

from taxiway.cli.main import main
from taxiway.console.progress import Progress, Screen, plain
from taxiway.console.tables import show_components, show_datasets, show_rows
from taxiway.errors import UsageError
from taxiway.targets.target import Checkout

HOSTILE = [
    "[/red]boom",
    "[link=http://evil.test]click[/link]",
    "\x1b]8;;http://evil.test\x1b\\\\click\x1b]8;;\x1b\\\\",
    "\x1b]0;owned\x07",
    "\x9b31mred",
    "first\nsecond\r",
    "a\u202egnp.exe",
    ":skull:",
    "half a \ud800",
]
ROW = {
    "dataset": "yellow", "period": "2024-01", "typed_rows": 1, "quarantined_rows": 0, "warehouse_rows": 1,
    "postgres_rows": 1, "raw_bytes": 1, "state": "partial", "audit_failures": 1, "audit_warnings": 0,
}  # fmt: skip


def terminal(kind: type[Console]) -> Console:
    return kind(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor")


def shown(console: Console) -> str:
    """What reached the terminal; only Rich's own colours may be commands to it."""
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def assert_harmless(console: Console, text: str) -> None:
    written = shown(console)
    assert plain(text) in written, "nothing of it is lost"
    assert "\x1b]" not in written
    assert not set(written) & {"\x07", "\x9b", "\r", "\u202e"}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", [Console, Screen])
def test_no_table_or_line_obeys_a_text(kind: type[Console], text: str) -> None:
    for show in (
        lambda c: show_datasets(c, [{**ROW, "dataset": text, "drift": [text]}]),
        lambda c: show_rows(c, text, [{text: text}]),
        lambda c: show_components(c, [{"name": text, "state": text, "url": text}]),
        lambda c: Progress(c).say(text, "failed", style="red", detail=text),
    ):
        console = terminal(kind)
        show(console)
        assert_harmless(console, text)


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\n" not in text])
def test_a_screen_prints_a_str_as_it_is(text: str) -> None:
    console = terminal(Screen)
    console.print(f"  {text}", soft_wrap=True)
    assert_harmless(console, text)


def test_lines_of_ours_stay_lines() -> None:
    console = terminal(Screen)
    console.print("one\ntwo")
    assert shown(console) == "one\ntwo\n"


def test_an_error_with_escape_sequences_is_one_that_can_be_read(tmp_path: Path, capsys: Any) -> None:
    def broken(*_: Any) -> Any:
        raise UsageError("[/x] \x1b]0;owned\x07 is\nnot a name")

    assert main(["drift", "--project", "acme-data"], Checkout(tmp_path, broken)) == 2
    assert "[/x] \\x1b]0;owned\\x07 is\nnot a name" in capsys.readouterr().err


def test_nobody_but_the_console_makes_a_console_or_reads_markup() -> None:
    taxiway = REPOSITORY / "scripts" / "taxiway"
    elsewhere = [f for f in taxiway.rglob("*.py") if f.parent.name != "console"]
    wrong = ("from rich.console import Console\n", "rich.markup", "Console(")
    assert len(elsewhere) > 50
    assert [f.name for f in elsewhere if any(word in f.read_text() for word in wrong)] == []
