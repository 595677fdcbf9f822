"""What a command line asks to load: datasets and months as units, in order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS, dataset
from elt.months import Month, parse_range
from taxiway.errors import UsageError
from taxiway.loads.runner import Unit

ALL = "all"


def read(words: Sequence[str]) -> tuple[list[Dataset], tuple[Month, ...]]:
    """`yellow green 2024-01..2024-03` as datasets and months; `all` is every dataset.

    elt.errors.UsageError for a dataset that is unknown, or months that are none.
    """
    *names, last = words
    months = parse_range(last) if last[:1].isdigit() else ()
    if not months:
        names.append(last)
    if not names:
        raise UsageError(f"{last} of which dataset?", f"Name some of: {', '.join(DATASETS)}, or {ALL}.")
    entries = [dataset(name) for name in dict.fromkeys(names) if name != ALL]
    return list(DATASETS.values()) if ALL in names else entries, months


def units(entries: Sequence[Dataset], months: Sequence[Month], *, newest_first: bool = False) -> list[Unit]:
    """Month by month the units of every dataset; datasets without months come first.

    Of several datasets those that begin later, or have no months, take what they have; a single one has to
    have every month. elt.errors.InvalidMonthError where it does not, UsageError where nothing is left.
    """
    if len(entries) == 1:
        for month in months or (None,):
            entries[0].check_month(month)
    monthly = [entry for entry in entries if entry.monthly]
    if monthly and not months:
        raise UsageError(
            f"{', '.join(entry.name for entry in monthly)}: published by month",
            "Say which, such as 2024-01..2024-03.",
        )
    ordered = sorted(months, reverse=newest_first)
    found = [Unit(entry.name) for entry in entries if not entry.monthly]
    found += [Unit(entry.name, str(month)) for month in ordered for entry in having(monthly, month)]
    if not found:
        raise UsageError("none of these datasets had begun in those months", "Ask for later ones.")
    return found


def having(entries: Iterable[Dataset], month: Month) -> list[Dataset]:
    """The datasets that had begun by a month."""
    return [entry for entry in entries if entry.first_month is None or entry.first_month <= month]
