"""Differences between what was asked for and what is there, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def differences(wanted: Any, present: Any, path: str = "") -> Iterator[str]:
    """Yield what differs, as `labels.owner: "alice" -> "bob"`. Parts that nobody asked for do not count."""
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        names = {*wanted, *(_own_labels(present) if path.endswith("labels") else ())}
        for name in sorted(names):
            inner = f"{path}.{name}" if path else name
            yield from differences(wanted.get(name), present.get(name), inner)
    elif not _same(wanted, present):
        yield f"{path}: {json.dumps(wanted)} -> {json.dumps(present)}"


def _own_labels(labels: Mapping[str, Any]) -> list[str]:
    """Return the labels that are not Google's or Pulumi's own marks."""
    return [name for name in labels if not name.startswith("goog-")]


def _same(wanted: Any, present: Any) -> bool:
    """Empty and absent are one, as are a location's spellings."""
    if isinstance(wanted, str) and isinstance(present, str):
        return wanted.casefold() == present.casefold()
    return wanted == present or (not wanted and not present)
