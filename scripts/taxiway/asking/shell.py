"""A prompt that takes statements up to their `;`, with a history of its own and completion."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elt.errors import PipelineError
from taxiway.asking.answers import Answer
from taxiway.asking.stores import Store
from taxiway.console.progress import plain
from taxiway.errors import TaxiwayError, UsageError

HISTORY_LINES = 10_000
HELP = """\
A statement ends with ;   \\d lists tables, \\d TABLE its columns, \\q ends (or Ctrl-D).
Tab completes tables and columns; Ctrl-C cancels what runs, or forgets what was typed.
"""
_WORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "LEFT JOIN", "USING", "HAVING",
    "COUNT(*)", "DISTINCT", "WITH", "UNION ALL", "CASE", "WHEN", "BETWEEN", "IS NOT NULL",
)  # fmt: skip


class Shell:
    """Asks a store for what is typed, until the end of the input.

    `answer` is given the answer to each statement while it arrives. `read` is Python's input, or a test's.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        answer: Callable[[Answer], Any],
        *,
        write: bool = False,
        few: int | None = None,
        read: Callable[[str], str] = input,
    ) -> None:
        self._store, self._name, self._answer = store, name, answer
        self._write, self._few, self._read = write, few, read
        self._tables: Mapping[str, list[str]] = {}

    def run(self) -> None:
        r"""Go on until Ctrl-D or \q; an error is shown, and the next statement asked for."""
        self._tables = self._asked(self._store.tables) or {}
        sys.stderr.write(HELP)
        typed = ""
        while True:
            try:
                line = self._read(f"{self._name}{'…' if typed else '>'} ")
            except EOFError:
                sys.stderr.write("\n")
                return
            except KeyboardInterrupt:
                sys.stderr.write("\n")
                typed = ""
                continue
            if not typed and line.strip().startswith("\\"):
                if line.strip() == "\\q":
                    return
                self._describe(line.split()[1:] if line.split()[0] == "\\d" else None)
                continue
            typed += f"\n{line}" if typed else line
            if typed.rstrip().endswith(";"):
                statement, typed = typed, ""
                self._asked(lambda statement=statement: self._ask(statement))  # type: ignore[misc]

    def _ask(self, statement: str) -> None:
        asked = statement.rstrip().removesuffix(";")
        with self._store.ask(asked, write=self._write, few=self._few) as answer:
            self._answer(answer)

    def _asked(self, what: Callable[[], Any]) -> Any:
        try:
            return what()
        except KeyboardInterrupt:
            sys.stderr.write("cancelled\n")
        except TaxiwayError as error:
            remedy = f"         {error.remedy}\n" if error.remedy else ""
            sys.stderr.write(plain(f"{error}\n{remedy}", keep="\n"))
        except PipelineError as error:
            sys.stderr.write(plain(f"{error}\n", keep="\n"))
        return None

    def _describe(self, words: list[str] | None) -> None:
        if words is None:
            sys.stdout.write(HELP)
            return
        # Asked again: what was loaded since is there, too.
        self._tables = self._asked(self._store.tables) or self._tables
        found = self._tables.get(words[0], []) if words else sorted(self._tables)
        for name in found or (f"no table {words[0]}; \\d lists all" if words else "no tables",):
            sys.stdout.write(plain(name) + "\n")

    def complete(self, begun: str, number: int) -> str | None:
        """The readline library's question: the n-th completion of a word; None after the last."""
        names = {*self._tables, *(column for columns in self._tables.values() for column in columns)}
        found = sorted(name for name in (*names, *_WORDS) if name.lower().startswith(begun.lower()))
        return found[number] if begun and number < len(found) else None


def interactive(shell: Shell, history: Path) -> None:
    """Run a shell at the terminal, its lines kept in a file that its owner alone can read."""
    try:
        import readline
    except ImportError:  # a Python without it still has a prompt
        shell.run()
        return
    # Made before anything is in it: the library would make it readable to others.
    os.close(os.open(history, os.O_CREAT | os.O_RDWR, 0o600))
    history.chmod(0o600)
    try:
        readline.read_history_file(history)
    except OSError as error:
        raise UsageError(f"{history} cannot be read: {error.strerror}", "Remove the file.") from None
    readline.set_history_length(HISTORY_LINES)
    readline.set_completer_delims(re.sub(r"[.\\]", "", readline.get_completer_delims()))
    readline.set_completer(shell.complete)
    # macOS has another library under the same name, with a language of its own.
    bsd = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if bsd else "tab: complete")
    try:
        shell.run()
    finally:
        readline.write_history_file(history)
