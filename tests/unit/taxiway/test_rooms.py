"""Which room of scripts/taxiway may know which: arrows go down, and the command line is known to nobody."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import REPOSITORY

TAXIWAY = REPOSITORY / "scripts" / "taxiway"
# Each may import those before it, and itself.
ROOMS = (
    "errors", "waiting", "environment", "console", "airflow", "infrastructure", "emulators", "token_server",
    "embedded", "compose", "targets", "loads", "asking", "transforming", "docgen", "entries", "projects",
    "cli",
)  # fmt: skip
# The last service of Compose is a command in a container: it loads, as `up` does.
PROGRAMS = ("compose/loader.py", "__main__.py")
MODULES = [path for path in TAXIWAY.rglob("*.py") if str(path.relative_to(TAXIWAY)) not in PROGRAMS]


def imported(module: Path) -> Iterator[str]:
    """Names of the modules that a module imports, also in functions; not what is there for types only."""
    tree = ast.parse(module.read_text())
    typing = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    unseen = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "taxiway" and len(parts) > 1 else ""


@pytest.mark.parametrize("own", ROOMS)
def test_a_room_imports_only_what_lies_below_it(own: str) -> None:
    below = ROOMS[: ROOMS.index(own) + 1]
    modules = [m for m in MODULES if m.relative_to(TAXIWAY).parts[0].removesuffix(".py") == own]
    assert modules
    wrong = {
        f"{module.relative_to(TAXIWAY)} imports {name}"
        for module in modules
        for name in imported(module)
        if room(name) and room(name) in ROOMS and room(name) not in below
    }
    assert wrong == set()


def test_only_the_command_line_knows_click() -> None:
    knowing = {m.relative_to(TAXIWAY).parts[0] for m in MODULES if "click" in set(imported(m))}
    assert knowing == {"cli"}
