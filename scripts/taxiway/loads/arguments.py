"""Which partitions a command line asks for, in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS, dataset
from elt.months import Month, Partition, parse_range
from taxiway.errors import UsageError

ALL = "all"
FIRST_MONTH = Month(2024, 1)


class Request(NamedTuple):
    """Datasets, and the months that were named after them (none: the datasets have none)."""

    datasets: Sequence[Dataset]
    months: Sequence[Month]


def read(words: Sequence[str]) -> list[Request]:
    """`yellow green 2024-01..2024-03 zones` as two requests: a range is for the datasets before it.

    `all` is every dataset. elt.errors.UsageError for a dataset that is unknown, or months that are none.
    """
    requests, names = list[Request](), list[str]()
    for word in words:
        if not word[:1].isdigit():
            names.append(word)
            continue
        months = parse_range(word)
        if not names:
            raise UsageError(f"{word} of which dataset?", f"Name some of: {', '.join(DATASETS)}, or {ALL}.")
        requests.append(Request(_datasets(names), months))
        names = []
    return [*requests, Request(_datasets(names), ())] if names else requests


def _datasets(names: Sequence[str]) -> list[Dataset]:
    # Every name is looked up, `all` or not: a misspelt one is never silently ignored.
    named = [dataset(name) for name in dict.fromkeys(names) if name != ALL]
    return list(DATASETS.values()) if ALL in names else named


def partitions(requests: Iterable[Request], *, newest_first: bool = False) -> list[Partition]:
    """Request by request, month by month the partitions of every dataset; those without months come first.

    Of several datasets those that begin later, or have no months, take what they have; a single one has to
    have every month. elt.errors.InvalidMonthError if it does not, UsageError if nothing is left.
    """
    found = (p for request in requests for p in _partitions(request, newest_first=newest_first))
    return list(dict.fromkeys(found))


def _partitions(request: Request, *, newest_first: bool) -> list[Partition]:
    datasets, months = request
    # Who names one dataset means it: a month that it does not have is a mistake, not a gap.
    if len(datasets) == 1:
        for month in months or (None,):
            datasets[0].check_month(month)
    monthly = [entry for entry in datasets if entry.monthly]
    if monthly and not months:
        raise UsageError(
            f"{', '.join(entry.name for entry in monthly)}: published by month",
            "Say which, such as 2024-01..2024-03.",
        )
    found = [Partition(entry.name, None) for entry in datasets if not entry.monthly]
    for month in sorted(months, reverse=newest_first):
        begun = (e for e in monthly if e.first_month is None or e.first_month <= month)
        found += [Partition(entry.name, month) for entry in begun]
    if not found:
        raise UsageError("none of these datasets had begun in those months", "Name later ones.")
    return found


def first_load(text: str | None = None, datasets: Iterable[Dataset] = DATASETS.values()) -> list[Partition]:
    """What a new platform is filled with: the packages' starter datasets, of these months or the usual ones.

    elt.errors.InvalidMonthError for months that one of them does not have; empty if there is no starter.
    """
    starters = [entry for entry in datasets if entry.starter]
    found = [Partition(entry.name, None) for entry in starters if not entry.monthly]
    named = parse_range(text) if text else ()
    for entry in starters:
        if not entry.monthly:
            continue
        # A dataset that begins later than the usual months is shown by its own first two.
        begin = max(entry.first_month or FIRST_MONTH, FIRST_MONTH)
        for month in named or (begin, begin.next()):
            entry.check_month(month)
            found.append(Partition(entry.name, month))
    return found


def next_load(loaded: Sequence[Partition]) -> str:
    """A command that loads more of the same; how to add a dataset if nothing was loaded by month."""
    months = [partition for partition in loaded if partition.month]
    if not months:
        return "docs/your-own-dataset.md"
    month = max(p.month for p in months if p.month)
    return f"scripts/run {months[-1].dataset} {month.shift(1)}..{month.shift(2)}"
