"""What imports what: the arrows between the rooms of a package."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path


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


def room(name: str, package: str) -> str:
    """The room of a module of `package`; empty for a module of another."""
    parts = name.split(".")
    return parts[1] if parts[0] == package and len(parts) > 1 else ""


def upward(folder: Path, rooms: Sequence[str], own: str, modules: Collection[Path]) -> set[str]:
    """The imports of room `own` that do not lead to itself or to one before it in `rooms`."""
    below = rooms[: rooms.index(own) + 1]
    mine = [m for m in modules if m.relative_to(folder).parts[0].removesuffix(".py") == own]
    assert mine, f"there is no {own}"
    return {
        f"{module.relative_to(folder)} imports {name}"
        for module in mine
        for name in imported(module)
        if room(name, folder.name) in rooms and room(name, folder.name) not in below
    }
