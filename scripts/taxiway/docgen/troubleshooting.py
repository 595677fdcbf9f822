"""docs/troubleshooting.md: every sentence with which a command or a task fails, from the code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from elt import errors as of_tasks
from taxiway import errors as of_commands
from taxiway.docgen.markdown import table
from taxiway.environment.home import REPOSITORY

_HEAD: Final = """\
# Troubleshooting

`scripts/docs` writes this page from the code; a test fails when it is not current. Search it for some words
of a message: `…` stands for what differs, a name or a number. `scripts/doctor` looks for most of these causes
itself, and `scripts/status` shows what failed last, with the command that tries it again.
"""
_COMMANDS: Final = """\
## Commands

They end with 1, with 2 where the command line is wrong, with 3 where nothing was started. The second column
is the advice that is printed below the message.
"""
_TASKS: Final = """\
## Tasks, and what is in the catalogue

A task that fails with one of these sentences shows it in its log, in `scripts/status`, on the page Coverage
and in alerts. *Tried again* says whether Airflow does so by itself.
"""
_FILES: Final = """\
## Why a file is refused

The reason stands behind the file's name. Nothing of the file was loaded, and what was there before stays.
"""
# How a command ends before anything is installed: no error of ours can be imported there.
_ENDS: Final = "fail"
_PLACES: Final = {
    "commands": ("scripts/_bootstrap.py", "scripts/taxiway", "infra"),
    "tasks": ("plugins/elt",),
    "files": ("plugins/elt/formats",),
}


class Sentence(NamedTuple):
    """A message and its remedy, with … for their variable parts, and the class of the error."""

    error: str
    message: str
    remedy: str = ""


def page() -> str:
    """Return the page."""
    commands, tasks = _classes(of_commands), _classes(of_tasks)
    found = {
        kind: {s for place in places for s in sentences(REPOSITORY / place)}
        for kind, places in _PLACES.items()
    }

    def retried(sentence: Sentence) -> str:
        return "yes" if issubclass(tasks[sentence.error], of_tasks.TransientError) else "no"

    parts: dict[str, tuple[tuple[str, ...], set[tuple[str, ...]]]] = {
        _COMMANDS: (
            ("message", "what to do"),
            {(s.message, s.remedy) for s in found["commands"] if s.error in {*commands, *tasks}},
        ),
        _TASKS: (
            ("message", "tried again"),
            {(f"{s.message} {s.remedy}".strip(), retried(s)) for s in found["tasks"] if s.error in tasks},
        ),
        _FILES: (("reason",), {(s.message,) for s in found["files"] if s.error == "ValueError"}),
    }
    return "\n".join(
        [_HEAD, *(f"{head}\n{table(names, _sorted(rows))}" for head, (names, rows) in parts.items())]
    )


def _classes(module: ModuleType) -> dict[str, type[Exception]]:
    found = inspect.getmembers(module, inspect.isclass)
    return {name: error for name, error in found if issubclass(error, Exception)}


def _sorted(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """In the order of the first word that is no placeholder, as cells that show every character."""
    texts = sorted(rows, key=lambda row: (row[0].lstrip("…: ").lower(), row))
    return [tuple(re.sub(r"([<>*`\[\]])", r"\\\1", " ".join(cell.split())) for cell in row) for row in texts]


def sentences(folder: Path) -> Iterator[Sentence]:
    """The sentences of all errors that a file, or a folder, raises; not those that are made elsewhere."""
    for file in [folder] if folder.is_file() else sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and (node.func.id.endswith("Error") or node.func.id == _ENDS)
            ):
                texts = [text for argument in node.args[:2] if (text := _text(argument))]
                # A placeholder alone tells nothing.
                if texts and re.search(r"\w", texts[0]):
                    yield Sentence("TaxiwayError" if node.func.id == _ENDS else node.func.id, *texts)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return re.sub(r"%[sd]", "…", _text(node.left))
    return ""
