"""The datasets: one entry each. Tables, DAGs, audits, docs and tests follow from an entry."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from nyc_taxi.catalogue.marts import MARTS
from nyc_taxi.catalogue.model import Audit, Column, Dataset, Feed, Format, Mart, Type
from nyc_taxi.errors import BadDataset, UnknownDataset

__all__ = ["DATASETS", "MARTS", "Audit", "Column", "Dataset", "Feed", "Format", "Mart", "Type", "dataset"]

# These first, in this order, wherever datasets are listed; then all others by name.
_FIRST = ("yellow", "green", "fhv", "fhvhv", "zones")


def _entries() -> dict[str, Dataset]:
    """Every entry of every file of this folder: one more file is all that a new dataset needs."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Dataset)]
    entries: dict[str, Dataset] = {}
    for entry in found:
        for kind, mine, others in (
            ("name", entry.name, [other.name for other in entries.values()]),
            ("table", entry.table, [other.table for other in entries.values()]),
        ):
            if mine and mine in others:
                raise BadDataset(f"two datasets have the {kind} {mine}. Give one of them another.")
        entries[entry.name] = entry
    names = sorted(entries, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: entries[name] for name in names}


DATASETS: Mapping[str, Dataset] = _entries()


def dataset(name: str) -> Dataset:
    """The entry of that name; UnknownDataset names the valid ones."""
    if name not in DATASETS:
        raise UnknownDataset(f"dataset {name!r} is unknown. Choose one of: {', '.join(sorted(DATASETS))}.")
    return DATASETS[name]
