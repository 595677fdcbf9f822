"""All datasets and marts: the entries of every package in `plugins/`.

Tables, DAGs, audits, docs and tests follow from an entry. To add a dataset, add a file to a package's
`datasets` folder, or a new package with one; nothing else has to be edited.

Importing this module never raises because of a user's file. Every command imports it, those that stop a
platform or show its logs too, and a typo must not break them. An invalid file or entry is left out and
listed in PROBLEMS; all others stay.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from traceback import walk_tb
from typing import TypeVar

from elt.catalogue.checks import Checks, Packages, clash
from elt.catalogue.model import Dataset, Mart
from elt.errors import PipelineError, UnknownDatasetError

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """A file or an entry that was left out, and one sentence on why."""

    file: str
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}{f', line {self.line}' if self.line else ''}: {self.reason}"


@dataclass(frozen=True)
class Catalogue:
    """The entries of all packages by name, datasets in the order of listings, and what was left out."""

    datasets: dict[str, Dataset]
    marts: dict[str, Mart]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Place:
    """Where an entry was found: a module's variable."""

    variable: str
    file: Path
    package: str

    def imports_it(self) -> bool:
        """Whether the file imports the variable (`from … import`) instead of defining it."""
        nodes = ast.walk(ast.parse(self.file.read_bytes()))
        names = [name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names]
        return any(self.variable == (name.asname or name.name) for name in names)

    @property
    def line(self) -> int | None:
        """Line of the assignment; None if the variable is not set at the beginning of a line."""
        text = self.file.read_text(encoding="utf-8", errors="replace")
        found = re.search(rf"(?m)^{re.escape(self.variable)}\b", text)
        return text.count("\n", 0, found.start()) + 1 if found else None


_Entries = list[tuple[Dataset | Mart, _Place]]


def read(packages: Packages) -> Catalogue:
    """Read the entries of all packages, and keep those that pass all checks."""
    reader, checks = _Reader(packages), Checks(packages)
    found = reader.without_clashes(_once(reader.entries()))
    feeding = [ds for ds, _ in found if isinstance(ds, Dataset)]
    named = [mart.name for mart, _ in found if isinstance(mart, Mart)]
    marts = [
        (mart, place)
        for mart, place in found
        if isinstance(mart, Mart) and reader.passes(mart, place, checks.of_mart(mart, feeding))
    ]
    datasets = {
        ds.name: ds
        for ds, place in found
        if isinstance(ds, Dataset) and reader.passes(ds, place, checks.of_dataset(ds, named))
    }
    fed = {
        mart.name: mart
        for mart, place in marts
        if reader.passes(mart, place, checks.of_lookups(mart, datasets))
    }
    # An invalid mart costs its datasets that one feed; their lake and tables go on.
    for name, ds in datasets.items():
        if any(feed.mart not in fed for feed in ds.feeds):
            datasets[name] = replace(ds, feeds=tuple(feed for feed in ds.feeds if feed.mart in fed))
    return Catalogue(datasets, fed, tuple(reader.problems))


class _Reader:
    """One pass over all packages; collects `problems` on the way."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self.problems: list[Problem] = []

    def entries(self) -> _Entries:
        """All entries, once per variable that holds them, in the order of each package's ORDER, then by name.

        None of a package whose `datasets/__init__.py` cannot be imported: then none of its files can.
        """
        found: _Entries = []
        for package in self._packages.names:
            folder = f"{package}.datasets"
            head = self._variables(folder, self._packages.folder / package / "datasets" / "__init__.py")
            if head is None:
                continue
            order = head.get("ORDER")
            listed = [f"{folder}.{name}" for name in order] if isinstance(order, list | tuple) else []
            places = {module: place for place, module in enumerate(listed)}
            modules = self._packages.modules(package)
            for module in sorted(modules, key=lambda name: (places.get(name, len(places)), name)):
                for name, value in (self._variables(module, modules[module]) or {}).items():
                    if isinstance(value, Dataset | Mart):
                        found.append((value, _Place(name, modules[module], package)))
        return found

    def _variables(self, module: str, file: Path) -> Mapping[str, object] | None:
        """A module's variables; None, and a problem, if importing it raises anything."""
        try:
            return dict(vars(import_module(module)))
        except (Exception, SystemExit) as error:
            self.problems.append(self._problem(error, file))
            return None

    def _problem(self, error: BaseException, file: Path) -> Problem:
        """Describe a failed import, with the line in `file` and the file that raised, if it is another."""
        at = [(Path(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__)]
        text, kind = str(error), "" if isinstance(error, PipelineError) else f"{type(error).__name__}: "
        if isinstance(error, SyntaxError):
            text = error.msg
            at.append((Path(error.filename or ""), error.lineno or 0))
        lines = [line for path, line in at if path == file]
        ours = [self._packages.folder / name for name in self._packages.names]
        where = [
            f" (in {self._packages.shown(path)}, line {line})"
            for path, line in at
            if path != file and any(folder in path.parents for folder in ours)
        ]
        reason = "".join([kind, *text.splitlines()[:1], *where[-1:]])
        return Problem(self._packages.shown(file), reason, lines[-1] if lines else None)

    def without_clashes(self, found: _Entries) -> _Entries:
        """Of two entries with one name, keep the first."""
        kept: _Entries = []
        for entry, place in found:
            clashes = (
                f"{what} is also in {self._packages.shown(of.file)}. Give one of them another."
                for other, of in kept
                if (what := clash(entry, other))
            )
            if self.passes(entry, place, clashes):
                kept.append((entry, place))
        return kept

    def passes(self, entry: Dataset | Mart, place: _Place, mistakes: Iterator[str]) -> bool:
        """Whether there is no mistake; the first one becomes a problem."""
        try:
            mistake = next(mistakes, None)
        except Exception as error:  # a value of another type than is written beside the field
            mistake = f"{type(error).__name__}: {error}"
        if mistake:
            reason = f"{type(entry).__name__.lower()} {entry.name}: {mistake}"
            self.problems.append(Problem(self._packages.shown(place.file), reason, place.line))
        return mistake is None


def _once(found: _Entries) -> _Entries:
    """Keep one place per entry: the file that defines it."""
    # A file that imports an entry, to make another by `replace()`, holds both.
    places: dict[int, list[_Place]] = {}
    for entry, place in found:
        places.setdefault(id(entry), []).append(place)
    homes = {
        entry: having[0] if len(having) == 1 else next((p for p in having if not p.imports_it()), having[0])
        for entry, having in places.items()
    }
    return [
        (replace(entry, package=place.package) if isinstance(entry, Dataset) else entry, place)
        for entry, place in found
        if homes[id(entry)] is place
    ]


_CATALOGUE = read(Packages())
DATASETS: Mapping[str, Dataset] = _CATALOGUE.datasets
MARTS: Mapping[str, Mart] = _CATALOGUE.marts
PROBLEMS: tuple[Problem, ...] = _CATALOGUE.problems
NO_DATASET = "There is no dataset yet. Add the first: scripts/new NAME ADDRESS-OF-A-FILE"


def refresh() -> None:
    """Read the entries anew, for a process that outlives them; modules that have DATASETS by name see it."""
    global PROBLEMS
    found = read(Packages())
    _replace(_CATALOGUE.datasets, found.datasets)
    _replace(_CATALOGUE.marts, found.marts)
    PROBLEMS = found.problems


def _replace(known: dict[str, T], now: dict[str, T]) -> None:
    # Never empty on the way: others may be reading.
    known.update(now)
    for name in known.keys() - now.keys():
        del known[name]


def dataset(name: str) -> Dataset:
    """The entry of that name; UnknownDatasetError names the valid ones, and what was left out."""
    if name not in DATASETS:
        known = f"Choose one of: {', '.join(sorted(DATASETS))}" if DATASETS else NO_DATASET
        left_out = "".join(f"\nLeft out: {problem}" for problem in PROBLEMS)
        raise UnknownDatasetError(f"dataset {name!r} is unknown. {known}.{left_out}")
    return DATASETS[name]
