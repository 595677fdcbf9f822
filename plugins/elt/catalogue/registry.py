"""The datasets and marts there are: those of every package beside the library that has a `datasets` folder.

Tables, DAGs, audits, docs and tests follow from an entry. One more package beside `nyc_taxi`, or one more
file in its `datasets`, is all that a new dataset needs.

Reading them never fails because of a user's file. Everything imports this module, also the commands that
stop a platform or show its logs: a typo must not take those away. A file or an entry that is wrong is left
out, PROBLEMS names it, and the others go on.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from traceback import walk_tb

from elt.catalogue.checks import Checks, clash
from elt.catalogue.model import Dataset, Mart
from elt.catalogue.packages import Packages
from elt.errors import PipelineError, UnknownDatasetError


@dataclass(frozen=True)
class Problem:
    """A file or an entry that was left out: where it is, and in a sentence why."""

    file: str
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}{f', line {self.line}' if self.line else ''}: {self.reason}"


@dataclass(frozen=True)
class Catalogue:
    """What the packages have: datasets in the order they are listed in, marts, and what was left out."""

    datasets: Mapping[str, Dataset]
    marts: Mapping[str, Mart]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Place:
    """The variable of a package's file that has an entry."""

    variable: str
    file: Path
    package: str

    def imports_it(self) -> bool:
        """Whether the file only takes the variable from another one."""
        nodes = ast.walk(ast.parse(self.file.read_bytes()))
        names = [name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names]
        return any(self.variable == (name.asname or name.name) for name in names)

    @property
    def line(self) -> int | None:
        """Where the variable is set; None if that is not at the beginning of a line."""
        text = self.file.read_text(encoding="utf-8")
        found = re.search(rf"(?m)^{re.escape(self.variable)}\b", text)
        return text.count("\n", 0, found.start()) + 1 if found else None


_Entries = list[tuple[Dataset | Mart, _Place]]


def read(packages: Packages) -> Catalogue:
    """Read the entries of all packages, and keep those that pass all checks."""
    return _Reader(packages).catalogue()


class _Reader:
    """One reading: what is left out on the way is in `problems`."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self.problems: list[Problem] = []

    def catalogue(self) -> Catalogue:
        checks = Checks(self._packages)
        found = self._without_clashes(_once(self._entries()))
        feeding = [ds for ds, _ in found if isinstance(ds, Dataset)]
        named = [mart.name for mart, _ in found if isinstance(mart, Mart)]
        marts = [
            (mart, place)
            for mart, place in found
            if isinstance(mart, Mart) and self._passes(mart, place, checks.of_mart(mart, feeding))
        ]
        datasets = {
            ds.name: ds
            for ds, place in found
            if isinstance(ds, Dataset) and self._passes(ds, place, checks.of_dataset(ds, named))
        }
        fed = {
            mart.name: mart
            for mart, place in marts
            if self._passes(mart, place, checks.of_lookups(mart, datasets))
        }
        # A mart that is wrong takes nothing else away from the datasets that feed it.
        for name, ds in datasets.items():
            datasets[name] = replace(ds, feeds=tuple(feed for feed in ds.feeds if feed.mart in fed))
        return Catalogue(datasets, fed, tuple(self.problems))

    def _entries(self) -> _Entries:
        """Everything that is an entry, once for each variable that has it."""
        found: _Entries = []
        for package in self._packages.names():
            modules = self._packages.modules(package)
            for module in self._in_order(package, modules):
                variables = self._variables(module, modules[module]) or {}
                places = {name: _Place(name, modules[module], package) for name in variables}
                entries = [(variables[name], place) for name, place in places.items()]
                found += [(value, place) for value, place in entries if isinstance(value, Dataset | Mart)]
        return found

    def _in_order(self, package: str, modules: Iterable[str]) -> list[str]:
        """Modules as ORDER in the package's `datasets` lists them, then the others; none if that fails."""
        folder = f"{package}.datasets"
        variables = self._variables(folder, self._packages.folder / package / "datasets" / "__init__.py")
        if variables is None:
            return []
        order = variables.get("ORDER")
        listed = [f"{folder}.{name}" for name in order] if isinstance(order, list | tuple) else []
        places = {module: place for place, module in enumerate(listed)}
        return sorted(modules, key=lambda module: (places.get(module, len(places)), module))

    def _variables(self, module: str, file: Path) -> Mapping[str, object] | None:
        """A module's variables; None if it cannot be imported, whatever the reason."""
        try:
            return dict(vars(import_module(module)))
        except (Exception, SystemExit) as error:
            self.problems.append(self._problem(error, file))
            return None

    def _problem(self, error: BaseException, file: Path) -> Problem:
        """What an import ended with, and where: a file that it imports may be to blame."""
        at = [(Path(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__)]
        text, kind = str(error), "" if isinstance(error, PipelineError) else f"{type(error).__name__}: "
        if isinstance(error, SyntaxError):
            text = error.msg
            at.append((Path(error.filename or ""), error.lineno or 0))
        lines = [line for path, line in at if path == file]
        ours = [self._packages.folder / name for name in self._packages.names()]
        where = [
            f" (in {self._packages.shown(path)}, line {line})"
            for path, line in at
            if path != file and any(folder in path.parents for folder in ours)
        ]
        reason = "".join([kind, *text.splitlines()[:1], *where[-1:]])
        return Problem(self._packages.shown(file), reason, lines[-1] if lines else None)

    def _without_clashes(self, found: _Entries) -> _Entries:
        """Whoever comes first keeps a name that two have."""
        kept: _Entries = []
        for entry, place in found:
            clashes = (
                f"{what} is also in {self._packages.shown(of.file)}. Give one of them another."
                for other, of in kept
                if (what := clash(entry, other))
            )
            if self._passes(entry, place, clashes):
                kept.append((entry, place))
        return kept

    def _passes(self, entry: Dataset | Mart, place: _Place, mistakes: Iterator[str]) -> bool:
        mistake = next(mistakes, None)
        if mistake:
            reason = f"{type(entry).__name__.lower()} {entry.name}: {mistake}"
            self.problems.append(Problem(self._packages.shown(place.file), reason, place.line))
        return mistake is None


def _once(found: _Entries) -> _Entries:
    """Each entry where it is made: a file that imports one, to make another of it, has both."""
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


def dataset(name: str) -> Dataset:
    """The entry of that name; UnknownDatasetError names the valid ones, and what was left out."""
    if name not in DATASETS:
        known = ", ".join(sorted(DATASETS)) or "none, because there is no entry"
        left_out = "".join(f"\nLeft out: {problem}" for problem in PROBLEMS)
        raise UnknownDatasetError(f"dataset {name!r} is unknown. Choose one of: {known}.{left_out}")
    return DATASETS[name]
