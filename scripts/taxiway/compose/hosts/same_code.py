"""The code that tasks run: which files of two checkouts are not the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

FOLDERS = ("dags", "dags_local", "plugins")
_SHOWN = 3


def digests(root: Path) -> dict[str, str]:
    """A digest of each file, but for what Python, editors and systems write themselves."""
    found = {}
    for folder in FOLDERS:
        for file in (root / folder).rglob("*"):
            name = file.relative_to(root)
            if file.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.parts):
                found[str(name)] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return found


def difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """The first files that are not the same, or not on both sides; empty if there is none."""
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
