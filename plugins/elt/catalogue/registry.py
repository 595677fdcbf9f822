"""The datasets and marts there are: those of every package beside the library that has a `datasets` folder.

Tables, DAGs, audits, docs and tests follow from an entry. No package is named anywhere: one more folder
beside `nyc_taxi`, or one more file in its `datasets`, is all that a new dataset needs.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import elt
from elt.catalogue.model import Dataset, Mart
from elt.errors import InvalidDatasetError, UnknownDatasetError

_PLUGINS = Path(elt.__file__).parents[1]


def packages() -> list[str]:
    """Names of the packages that bring entries."""
    return sorted(folder.parent.name for folder in _PLUGINS.glob("*/datasets") if folder.is_dir())


def sql_folders() -> list[Path]:
    """Where the packages keep their SQL."""
    return [_PLUGINS / name / "sql" for name in packages()]


def _modules() -> Iterator[ModuleType]:
    for name in packages():
        package = import_module(f"{name}.datasets")
        order = {module: place for place, module in enumerate(getattr(package, "ORDER", ()))}
        names = sorted(
            (module.name for module in iter_modules(package.__path__)),
            key=lambda module: (order.get(module, len(order)), module),
        )
        yield from (import_module(f"{name}.datasets.{module}") for module in names)


def _entries() -> dict[str, Dataset]:
    found = [value for module in _modules() for value in vars(module).values() if isinstance(value, Dataset)]
    entries: dict[str, Dataset] = {}
    for entry in found:
        for kind, mine, others in (
            ("name", entry.name, [other.name for other in entries.values()]),
            ("table", entry.table, [other.table for other in entries.values()]),
        ):
            if mine and mine in others:
                raise InvalidDatasetError(f"two datasets have the {kind} {mine}. Give one of them another.")
        entries[entry.name] = entry
    return entries


def _marts() -> dict[str, Mart]:
    files = [name for name in packages() if (_PLUGINS / name / "marts.py").exists()]
    values = [value for name in files for value in vars(import_module(f"{name}.marts")).values()]
    return {value.name: value for value in values if isinstance(value, Mart)}


PROBLEMS=()
DATASETS: Mapping[str, Dataset] = _entries()
MARTS: Mapping[str, Mart] = _marts()


def dataset(name: str) -> Dataset:
    """The entry of that name; UnknownDatasetError names the valid ones."""
    if name not in DATASETS:
        raise UnknownDatasetError(
            f"dataset {name!r} is unknown. Choose one of: {', '.join(sorted(DATASETS))}."
        )
    return DATASETS[name]
