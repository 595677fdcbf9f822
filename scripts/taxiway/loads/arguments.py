"""Which partitions a command line asks for, in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS, NO_DATASET, dataset
from elt.periods import Month, Partition, Period, Span, levels
from taxiway.errors import UsageError

ALL = "all"
# Where a first load begins, of datasets that are older.
_BEGIN = Month(2024, 1)


class Request(NamedTuple):
    """Datasets, and the time that was named after them (None: the datasets have no periods)."""

    datasets: Sequence[Dataset]
    span: Span | None


def read(words: Sequence[str]) -> list[Request]:
    """`yellow green 2024-01..2024-03 zones` as two requests: a range is for the datasets before it.

    `all` is every dataset. elt.errors.UsageError for a dataset that is unknown, or periods that are none.
    """
    requests, names = list[Request](), list[str]()
    for word in words:
        if not word[:1].isdigit():
            names.append(word)
            continue
        span = Span.parse(word)
        if not names:
            known = f"Name some of: {', '.join(DATASETS)}, or {ALL}." if DATASETS else NO_DATASET
            raise UsageError(f"{word} of which dataset?", known)
        requests.append(Request(_datasets(names), span))
        names = []
    return [*requests, Request(_datasets(names), None)] if names else requests


def _datasets(names: Sequence[str]) -> list[Dataset]:
    # Every name is looked up, `all` or not: a misspelt one is never silently ignored.
    named = [dataset(name) for name in dict.fromkeys(names) if name != ALL]
    if not DATASETS:
        raise UsageError(NO_DATASET)
    return list(DATASETS.values()) if ALL in names else named


def partitions(
    requests: Iterable[Request], *, newest_first: bool = False, now: datetime | None = None
) -> list[Partition]:
    """Request by request, period by period the partitions of every dataset; those without periods come first.

    Of several datasets those that begin later, or have no periods, take what they have; a single one has to
    have every period. elt.errors.InvalidPeriodError if it does not, UsageError if nothing is left, or if all
    of it begins later than `now` (UTC).
    """
    found = list(
        dict.fromkeys(p for request in requests for p in _partitions(request, newest_first=newest_first))
    )
    if now and found and all(p.period and p.period.start > now.replace(tzinfo=None) for p in found):
        raise UsageError(f"{found[0]} has not begun (UTC)", "Nobody has published it; name earlier periods.")
    return found


def _partitions(request: Request, *, newest_first: bool) -> list[Partition]:
    datasets, span = request
    # Who names one dataset means it: a period that it does not have is a mistake, not a gap.
    if len(datasets) == 1:
        _check(datasets[0], span)
    whole = [Partition(entry.name, None) for entry in datasets if not entry.every]
    by_period = [entry for entry in datasets if entry.every]
    if by_period and not span:
        raise UsageError(
            f"{', '.join(f'{entry.name} by {entry.every}' for entry in by_period)}: published by period",
            f"Say which, such as {by_period[0].first}..{by_period[0].first and by_period[0].first.shift(2)}.",
        )
    found = [
        (entry.name, period)
        for entry in by_period
        if span and entry.every and entry.first
        for period in span.periods(entry.every)
        if entry.first <= period
    ]
    # Dataset by dataset a command line of several would load all of the first one before any of the second.
    found.sort(key=lambda pair: pair[1].start, reverse=newest_first)
    if not (whole or found):
        raise UsageError("none of these datasets had begun by then", "Name later periods.")
    return [*whole, *(Partition(name, period) for name, period in found)]


def _check(entry: Dataset, span: Span | None) -> None:
    """Raise InvalidPeriodError for a span that a dataset does not have, or that cuts its periods in two."""
    if span is None or entry.every is None:
        return entry.check_period(span.first if span else None)
    if max(len(levels(p.grain)) for p in (span.first, span.last)) > len(levels(entry.every)):
        entry.check_period(span.last if span.last.grain != entry.every else span.first)
    return entry.check_period(next(span.periods(entry.every)))


def first_load(text: str | None = None, datasets: Iterable[Dataset] = DATASETS.values()) -> list[Partition]:
    """What a new platform is filled with: the packages' starter datasets, of this time or of the usual one.

    elt.errors.InvalidPeriodError for periods that one of them does not have; empty if there is no starter.
    """
    starters = [entry for entry in datasets if entry.starter]
    found = [Partition(entry.name, None) for entry in starters if not entry.every]
    span = Span.parse(text) if text else None
    for entry in starters:
        if entry.first is None or entry.every is None:
            continue
        # A dataset that begins later than the usual time is shown by its own first two periods.
        begin = max(entry.first, type(entry.first).of(_BEGIN.start))
        periods = list(span.periods(entry.every)) if span else [begin, begin.next()]
        for period in periods:
            entry.check_period(period)
            found.append(Partition(entry.name, period))
    return found


def nothing_first(text: str | None, datasets: Mapping[str, Dataset] = DATASETS) -> str:
    """A sentence on why a new platform stays empty, where it does: no dataset, or none that is a starter."""
    if not datasets:
        return NO_DATASET
    if any(entry.starter for entry in datasets.values()):
        return ""
    asked = f"; {text} is of none" if text else ""
    return f"no dataset is loaded unasked{asked}: give its entry starter=True, or call scripts/run"


def next_load(loaded: Sequence[Partition], datasets: Mapping[str, Dataset] = DATASETS) -> str:
    """A command that loads more of the same; how to add a dataset if there is none by period."""
    latest: dict[str, Period] = {}
    for name, period in ((p.dataset, p.period) for p in loaded):
        if period and (name not in latest or latest[name] < period):
            latest[name] = period
    if not latest:
        known = next((entry for entry in datasets.values() if entry.first), None)
        return f"scripts/run {known.name} {known.first}" if known else "scripts/new NAME ADDRESS"
    name, period = list(latest.items())[-1]
    return f"scripts/run {name} {period.shift(1)}..{period.shift(2)}"
