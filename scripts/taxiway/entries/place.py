"""Where an entry is written: a file in a package of `plugins/`, checked as the catalogue will check it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from elt.catalogue import Dataset, Mart
from elt.catalogue.checks import Checks, Packages, clash
from elt.catalogue.model import ROOM_FOR_NAME
from taxiway.environment.home import write_atomically
from taxiway.errors import TaxiwayError, UsageError

# The project's own package: updates may touch it.
_OURS = "nyc_taxi"


def check_name(name: str, what: str = "NAME") -> str:
    """A name that a dataset, its file and its tables can have; UsageError for any other."""
    if not re.fullmatch(rf"[a-z][a-z0-9_]{{0,{ROOM_FOR_NAME - 1}}}", name, re.ASCII):
        raise UsageError(
            f"{what} {name!r} cannot be a dataset's",
            f"Use up to {ROOM_FOR_NAME} of a-z, 0-9 and _, a letter first.",
        )
    return name


def package_for(name: str, asked: str, packages: Packages) -> str:
    """The package that is asked for, the only one of the user's, or a new one called like the dataset."""
    others = [each for each in packages.names if each != _OURS]
    package = asked or (others[0] if len(others) == 1 else name)
    if package not in packages.names and not asked and is_taken(package, packages.folder):
        package = f"{package[:30]}_data"
    check_name(package, "--package")
    if package not in packages.names and is_taken(package, packages.folder):
        raise UsageError(
            f"--package {package}: Python has a module of that name, which it would hide",
            "Choose another name.",
        )
    return package


def is_taken(package: str, folder: Path) -> bool:
    """Whether `import package` finds something that is none of the packages: json, say."""
    if package in sys.stdlib_module_names or (folder / package).exists():
        return True
    elsewhere = [path for path in sys.path if Path(path).resolve() != folder.resolve()]
    found = PathFinder.find_spec(package, elsewhere)
    return found is not None and found.origin is not None


def entry_file(name: str, package: str, packages: Packages, *, force: bool) -> Path:
    """The file to write; UsageError if it is there already and `force` is not given."""
    file = packages.folder / package / "datasets" / f"{name}.py"
    if file.exists() and not force:
        raise UsageError(
            f"{packages.shown(file)} is there already",
            "Edit it; or replace it with --force, or choose another name.",
        )
    return file


def check_entry(
    ds: Dataset,
    file: Path,
    packages: Packages,
    datasets: Mapping[str, Dataset],
    marts: Mapping[str, Mart],
    text: str,
) -> None:
    """Raise TaxiwayError for an entry that the catalogue would leave out, or whose text does not say it."""
    written: dict[str, object] = {}
    exec(compile(text, str(file), "exec"), written)  # noqa: S102 - as the registry will
    if written[ds.name.upper()] != ds:
        raise TaxiwayError(
            f"the text of the entry {ds.name} does not say what was found", "This is a defect."
        )
    mistakes = list(Checks(packages).of_dataset(ds, marts))
    others: list[Dataset | Mart] = [*datasets.values(), *marts.values()]
    for other in others:
        # What is replaced by --force is no clash.
        is_itself = isinstance(other, Dataset) and other.name == ds.name and file.exists()
        if (common := clash(ds, other)) and not is_itself:
            mistakes.append(f"{common} is in the catalogue already. Choose another name.")
    if mistakes:
        raise UsageError(f"dataset {ds.name}: {mistakes[0]}")


def write(file: Path, text: str) -> None:
    """Write an entry, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text, 0o644)
