"""The prompt: statements over several lines, errors that do not end it, completion, a private history."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from elt.errors import PermanentError
from taxiway.asking.answers import Answer
from taxiway.asking.shell import Shell, interactive
from taxiway.asking.stores import pointed


class FakeStore:
    """Has one table; remembers what it was asked, and breaks on `bad` and `stop`."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @contextmanager
    def ask(self, statement: str, *, write: bool = False, few: int | None = None) -> Iterator[Answer]:
        self.asked.append(statement)
        if "bad" in statement:
            raise PermanentError("Postgres: it is bad")
        if "stop" in statement:
            raise KeyboardInterrupt
        yield Answer(["n"], iter([(1,)]), lambda: [None])

    def tables(self) -> dict[str, list[str]]:
        return {"zones": ["location_id", "zone"]}


def typed(*lines: Any) -> tuple[FakeStore, Shell, list[Any]]:
    """A shell that was run on these lines; an exception is what happens instead of one."""
    store, found, waiting = FakeStore(), list[Any](), iter(lines)

    def read(_: str) -> str:
        line = next(waiting, EOFError())
        if isinstance(line, BaseException):
            raise line
        return str(line)

    shell = Shell(store, "lake", lambda answer: found.extend(answer.rows), read=read)
    shell.run()
    return store, shell, found


def test_a_statement_ends_with_its_semicolon() -> None:
    store, _, found = typed("SELECT 1", "AS n;", "SELECT 2")
    assert store.asked == ["SELECT 1\nAS n"]
    assert found == [(1,)]


def test_an_error_or_an_interruption_is_said_and_the_prompt_goes_on(capsys: Any) -> None:
    store, _, found = typed("bad;", "stop;", "half of", KeyboardInterrupt(), "SELECT 3;", "\\q", "SELECT 4;")
    assert store.asked == ["bad", "stop", "SELECT 3"]
    assert found == [(1,)]
    shown = capsys.readouterr().err
    assert "Postgres: it is bad" in shown
    assert "cancelled" in shown


def test_tables_and_columns_are_listed_and_completed(capsys: Any) -> None:
    _, shell, _ = typed("\\d", "\\d zones", "\\d nope", "\\help")
    assert capsys.readouterr().out.splitlines()[:4] == [
        "zones",
        "location_id",
        "zone",
        "no table nope; \\d lists all",
    ]
    assert [shell.complete("zo", n) for n in range(3)] == ["zone", "zones", None]
    assert shell.complete("SEL", 0) == "SELECT"
    assert shell.complete("", 0) is None


def test_what_was_typed_is_kept_for_its_owner_alone_and_there_the_next_time(tmp_path: Path) -> None:
    readline = pytest.importorskip("readline")
    history = tmp_path / "sql_history"
    # As a file of an older version may be.
    history.write_text("SELECT 1;\n")
    history.chmod(0o644)

    def read(_: str) -> str:
        assert readline.get_history_item(readline.get_current_history_length()) == "SELECT 1;"
        # What Python's input does with a line of a terminal's.
        readline.add_history("SELECT 2;")
        raise EOFError

    readline.clear_history()
    interactive(Shell(FakeStore(), "lake", print, read=read), history)
    readline.clear_history()
    assert "SELECT 1;\nSELECT 2;\n" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_an_error_points_at_its_place_in_the_statement() -> None:
    error = pointed("no such column", "SELECT 1,\n  nope\nFROM t", 2, 3)
    assert (str(error), error.remedy) == ("no such column", f"  nope\n{' ' * 9}  ^")
    long = "SELECT " + ", ".join(f"column_{n}" for n in range(100)) + ", nope"
    shown, caret = pointed("no such column", long, 1, long.index("nope") + 1).remedy.split("\n")
    assert len(shown) <= 80
    assert shown[caret.index("^") - 9 :].startswith("nope")
    assert pointed("nowhere", "SELECT 1", 7, 1).remedy == ""
