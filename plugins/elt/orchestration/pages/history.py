"""A dataset over time: how its audits have judged it, and what its publisher has added to its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from elt import status
from elt.catalogue import Dataset
from elt.connections import Connections
from elt.orchestration.pages.coverage import partitions
from elt.periods import Partition, Period
from elt.warehouse import audits

# A letter of a strip by the column of a judgement; "." where an audit has not judged.
RESULTS: Mapping[str, str] = {"passed": "P", "warned": "W", "stopped": "S"}


def read(connections: Connections, ds: Dataset, last: Period | None) -> dict[str, Any]:
    """What the page draws: two queries, and a look into the lake's list.

    `strips` has a letter for each of `keys` by an audit's name: for each partition, as its latest judgement
    says; of a dataset without periods for each judgement. `keys` is None where they are the partitions.
    """
    with connections.warehouse() as warehouse:
        judged, found = audits.over_time(warehouse, ds.name)
    periods = [partition.key for partition in partitions(ds, last)]
    by, keys = ("month", periods) if ds.every else ("checked_at", [row["checked_at"] for row in judged])
    places = {key: place for place, key in enumerate(keys)}
    located = [(places[row[by]], row) for row in judged if row[by] in places]
    return {
        "keys": None if ds.every else [_minute(key) for key in keys],
        "strips": {audit.name: strip(audit.name, located, len(keys)) for audit in ds.audits},
        "found": [{**row, "checked_at": _minute(row["checked_at"])} for row in found],
        "drift": drifted(status.drift(connections, ds)),
    }


def strip(audit: str, judged: Iterable[tuple[int, Mapping[str, Any]]], length: int) -> str:
    """How an audit has judged each place, by the last of its judgements (oldest first)."""
    letters = ["."] * length
    for place, row in judged:
        results = [letter for column, letter in RESULTS.items() if audit in (row[column] or "").split(",")]
        letters[place] = results[0] if results else "."
    return "".join(letters)


def drifted(found: Mapping[Partition, Iterable[str]]) -> list[dict[str, Any]]:
    """Each unknown column with the first and the last partition that has it, and the number of them."""
    keys = dict[str, list[str | None]]()
    for partition, columns in found.items():
        for column in columns:
            keys.setdefault(column, []).append(partition.key)
    return [{"column": c, "first": k[0], "last": k[-1], "partitions": len(k)} for c, k in keys.items()]


def _minute(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
