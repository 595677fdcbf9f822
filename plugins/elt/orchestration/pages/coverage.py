"""A dataset's partitions as a grid: one letter for each, and what is known of those that are anywhere."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from elt.catalogue import Dataset
from elt.layout import Family, dag_id
from elt.periods import KINDS, Partition, Period, Span
from elt.sources.changes import PATIENCE
from elt.status import Covered, families, stages
from elt.stores.describing import is_sample

# A letter of a grid by what it means.
STATES: Mapping[str, str] = {
    "loaded": "L",
    "outdated": "O",
    "failed": "F",
    "missing": "M",
    "late": "A",
    "running": "R",
}
RUNNING = ("queued", "running")


class Run(NamedTuple):
    """The newest run of a DAG and a partition (`key`), in Airflow's words."""

    dag_id: str
    run_id: str
    key: str | None
    state: str


def dags(ds: Dataset) -> dict[str, Family]:
    """The DAGs that load a dataset, by their ids."""
    return {dag_id(ds.name, family): family for family in families(stages(ds))}


def last_due(ds: Dataset, now: dt.datetime) -> Period | None:
    """The latest period that is due (`now`: UTC, without a zone); None where there are no periods."""
    if ds.first is None:
        return None
    return max(ds.first, KINDS[ds.first.grain].of(now).shift(-ds.lag))


def partitions(ds: Dataset, last: Period | None) -> Iterator[Partition]:
    """Every partition of a dataset up to a period, in order."""
    if ds.first is None or last is None:
        yield Partition(ds.name)
        return
    for period in Span(ds.first, last).periods(ds.first.grain):
        yield Partition(ds.name, period)


def grid(
    ds: Dataset,
    found: Mapping[Partition, Covered],
    runs: Iterable[Run],
    last: Period | None,
    now: dt.datetime,
) -> dict[str, Any]:
    """What the page draws.

    `states` has a letter for each partition from `first` on. `cells` has, by its place, [rows, quarantined,
    place of its source in `sources`, families of DAGs to run, sentences] of those that are in the log or
    failed.
    """
    newest = _by_key(ds, runs)
    logged_at = [known.logged.finished_at for known in found.values() if known.logged]
    states, cells, sources = list[str](), dict[int, list[Any]](), dict[str, int]()
    for place, partition in enumerate(partitions(ds, last)):
        known, own = found.get(partition), newest.get(partition.key, {})
        state = state_of(ds, partition, known, own, now)
        states.append(STATES[state])
        if known or state == "failed":
            logged, source = (known.logged, known.source) if known else (None, None)
            number = sources.setdefault(source, len(sources)) if source else None
            counts = (logged.rows, logged.quarantined) if logged else (None, None)
            cells[place] = [*counts, number, todo(known, own), sentences(known, own)]
    return {
        "first": str(ds.first) if ds.first else None,
        "states": "".join(states),
        "cells": cells,
        "loaded_at": max(logged_at).isoformat() if logged_at else None,
        "sources": [{"url": url, "sample": is_sample(ds, url)} for url in sources],
    }


def state_of(
    ds: Dataset, partition: Partition, known: Covered | None, runs: Mapping[str, Run], now: dt.datetime
) -> str:
    """One of STATES. What is loaded is loaded, whatever its latest run has come to."""
    if any(run.state in RUNNING for run in runs.values()):
        return "running"
    if known and known.logged and not known.missing:
        return "loaded"
    if any(run.state == "failed" for run in runs.values()) or (known and known.tally.failures):
        return "failed"
    if known and known.logged:
        return "outdated"
    return "late" if _is_awaited(ds, partition.period, now) else "missing"


def todo(known: Covered | None, runs: Mapping[str, Run]) -> list[str]:
    """The families of DAGs to trigger, none if it is loaded: the lake's alone where it is among them.

    Its asset events start the others.
    """
    if known and known.logged and not known.missing:
        return []
    missing = families(known.missing) if known else ("to_lake",)
    failed = [family for family, run in runs.items() if run.state == "failed"]
    wanted = [family for family in families() if family in (*missing, *failed)]
    return ["to_lake"] if "to_lake" in wanted else [str(family) for family in wanted]


def sentences(known: Covered | None, runs: Mapping[str, Run]) -> list[str]:
    """What went wrong: failed runs, and audits that did not pass."""
    failed = [f"{run.dag_id} failed" for run in runs.values() if run.state == "failed"]
    verdicts = known.tally.verdicts if known else ()
    return [*failed, *(f"{v.audit} ({v.severity}): {v.found}" for v in verdicts)]


def _by_key(ds: Dataset, runs: Iterable[Run]) -> dict[str | None, dict[str, Run]]:
    by_dag, found = dags(ds), dict[str | None, dict[str, Run]]()
    for run in runs:
        found.setdefault(run.key, {})[by_dag[run.dag_id]] = run
    return found


def _is_awaited(ds: Dataset, period: Period | None, now: dt.datetime) -> bool:
    """Whether a period is due for less than a publisher may take."""
    if period is None or ds.every is None:
        return False
    return now < period.shift(ds.lag).start + PATIENCE[ds.every]
