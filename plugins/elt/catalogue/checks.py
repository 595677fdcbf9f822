"""Packages, which bring entries and their SQL files, and checks of an entry against other entries and files.

Without the checks a task would fail after downloading a gigabyte, because of a missing file or template
variable. What an entry knows by itself, it checks when it is created (`elt.catalogue.model`).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from pkgutil import iter_modules
from string import Template

import elt
from elt.catalogue.model import GIVEN_TO_AUDITS, PERIOD_COLUMNS, Dataset, Mart
from elt.errors import InvalidDatasetError
from elt.layout import lake_table, mart_table

LIBRARY = Path(elt.__file__).parent


@dataclass(frozen=True)
class Packages:
    """The packages of one folder, which has to be on `sys.path`. Each folder is listed once per instance.

    A folder is a package if it contains a folder `datasets`; no list names it:

        <package>/datasets/*.py     entries
        <package>/marts.py          marts
        <package>/sql/audits/       a rule over a staged partition
        <package>/sql/marts/        the query that fills a mart, in BigQuery's SQL
        <package>/sql/postgres/     the same query in Postgres' SQL
        <package>/sql/views/        the view that people query, in SQL valid in both
    """

    folder: Path = LIBRARY.parent

    @cached_property
    def names(self) -> list[str]:
        """Names of the packages, sorted."""
        return sorted(path.parent.name for path in self.folder.glob("*/datasets") if path.is_dir())

    def modules(self, package: str) -> dict[str, Path]:
        """Files of a package that may define entries, by module name."""
        datasets, marts = self.folder / package / "datasets", self.folder / package / "marts.py"
        found = {
            f"{package}.datasets.{name}": datasets / (f"{name}/__init__.py" if is_package else f"{name}.py")
            for _, name, is_package in iter_modules([str(datasets)])
        }
        return found | ({f"{package}.marts": marts} if marts.exists() else {})

    def sql(self, name: str, package: str = "") -> list[Path]:
        """Files of a statement such as `audits/row_count`: none, one, or several if it is ambiguous.

        Order: the asking package, the library, all other packages.
        """
        # The package goes first so that its audits can have any name. Without one the library goes first:
        # a package must not replace the statements that the library runs.
        others = [other for other in self.names if other != package]
        for owners in ([package] if package else [], ["elt"], others):
            if found := [files[name] for owner in owners if name in (files := self._statements[owner])]:
                return found
        return []

    @cached_property
    def _statements(self) -> Mapping[str, Mapping[str, Path]]:
        """SQL files by package (the library is `elt`) and statement: one scan instead of 400 lookups."""
        folders = {name: self.folder / name / "sql" for name in self.names}
        folders["elt"] = LIBRARY / "warehouse" / "sql"
        return {
            name: {str(file.relative_to(folder).with_suffix("")): file for file in folder.rglob("*.sql")}
            for name, folder in folders.items()
        }

    def shown(self, file: Path) -> str:
        """A file's path as the user types it: relative to the checkout."""
        return str(file.relative_to(self.folder.parent)) if self.folder in file.parents else str(file)


def clash(one: Dataset | Mart, other: Dataset | Mart) -> str:
    """The name that two entries cannot share; empty if they can coexist."""
    if isinstance(one, Dataset) and isinstance(other, Dataset) and one.name == other.name:
        return f"the name {one.name}"
    common = _tables(one) & _tables(other)
    for entry, beside in ((one, other), (other, one)):
        # In Postgres each year or month is a table of its own, in the same namespace.
        if isinstance(entry, Dataset) and entry.tabular and entry.every:
            common |= {
                name for name in _tables(beside) if re.fullmatch(rf"{entry.table}_\d{{4}}(_\d\d)?", name)
            }
    return f"the table {min(common)}" if common else ""


def _tables(entry: Dataset | Mart) -> set[str]:
    if isinstance(entry, Mart):
        return {entry.name, mart_table(entry.name)}
    return {entry.table, lake_table(entry)} if entry.tabular else set()


def _is_in_postgres(mart: Mart, datasets: Iterable[Dataset]) -> bool:
    return any(ds.in_postgres and ds.fills(mart.name) for ds in datasets)


@cache
def _content(file: Path) -> str:
    # Every dataset that feeds a mart reads the mart's file.
    return file.read_text(encoding="utf-8")


def forget() -> None:
    """Read files again that have been read, for a process that outlives them."""
    _content.cache_clear()


@dataclass(frozen=True)
class Checks:
    """The checks of entries from these packages. Each yields a sentence per mistake."""

    packages: Packages

    def of_mart(self, mart: Mart, datasets: Collection[Dataset]) -> Iterator[str]:
        """Check that a mart's files exist, and the template variables of its view."""
        folders = ("marts", "postgres", "views") if _is_in_postgres(mart, datasets) else ("marts", "views")
        for folder in folders:
            yield from filter(None, [self._read(f"{folder}/{mart.name}")[2]])
        yield from self._given(f"views/{mart.name}", ("mart", *mart.lookups))

    def of_lookups(self, mart: Mart, datasets: Mapping[str, Dataset]) -> Iterator[str]:
        """Check that every lookup has a table in each store that has the mart's view."""
        if len(grains := {ds.every for ds in datasets.values() if ds.fills(mart.name)}) > 1:
            shown = ", ".join(sorted(str(grain) for grain in grains))
            yield f"its feeds are by {shown}. A mart is kept by one of them: make it one mart for each."
        for name in mart.lookups:
            ds = datasets.get(name)
            if ds is None or not ds.tabular:
                yield f"its lookup {name!r} is no dataset with a table. Correct lookups."
            elif not ds.in_postgres and _is_in_postgres(mart, datasets.values()):
                yield f"its lookup {name} is not in Postgres, where the mart is. Set postgres=True there."

    def of_dataset(self, ds: Dataset, marts: Collection[str]) -> Iterator[str]:
        """Check a dataset's source, and the template variables of its audits and marts."""
        columns = [column.name for column in ds.columns]
        try:
            ds.check_source()
        except InvalidDatasetError as error:
            yield str(error).removeprefix(f"dataset {ds.name}: ")
        for audit in ds.audits:
            name = f"audits/{audit.name}"
            yield from filter(None, [self._read(name, ds.package)[2]])
            yield from self._given(name, GIVEN_TO_AUDITS, audit.variables, columns, ds.package)
        for feed in ds.feeds:
            if feed.mart not in marts:
                yield f"it feeds the mart {feed.mart!r}, which is not there. Use {', '.join(sorted(marts))}."
            yield from self._given(f"marts/{feed.mart}", ("mart", "source"), feed.variables, columns)
            if ds.in_postgres:
                given = ("dataset", "source")
                yield from self._given(f"postgres/{feed.mart}", given, feed.variables, columns)

    def _read(self, name: str, package: str = "") -> tuple[str, str, str]:
        """A statement's text, its file, and the mistake if there is no text."""
        files = self.packages.sql(name, package)
        if not files:
            return "", "", f"there is no file sql/{name}.sql. Write it, or correct the name."
        shown = " and ".join(map(self.packages.shown, files))
        if len(files) > 1:
            return "", shown, f"there are {shown}. Rename one of them."
        try:
            return _content(files[0]), shown, ""
        except (OSError, ValueError) as error:
            return "", shown, f"{shown} cannot be read ({error}). Save it as UTF-8 text."

    def _given(
        self,
        name: str,
        given: Collection[str],
        variables: Mapping[str, str] | None = None,
        columns: Collection[str] = (),
        package: str = "",
    ) -> Iterator[str]:
        """Check a statement's template variables: `given` by the library, `variables` by the entry.

        A missing file has none: it is reported where it belongs, with the mart.
        """
        variables = variables or {}
        text, shown, _ = self._read(name, package)
        if not Template(text).is_valid():
            yield f"{shown} has a $ that begins no template variable. Write $$ for a dollar sign."
        for variable in Template(text).get_identifiers():
            if variable not in (*given, *variables):
                yield f"{shown} has ${{{variable}}}, which is not given. Give it, or correct the file."
        # Inside quotes a value is text. Outside, a bare word must be a column; expressions are not parsed.
        code = re.sub(r"'[^']*'", "", text)
        for variable, value in variables.items():
            if variable in given:
                yield f"{shown} is given {variable} in any case. Call the variable otherwise."
            bare = re.fullmatch(r"[a-z_]\w*", value) and re.search(rf"\$\{{?{variable}\b", code)
            if bare and value not in (*columns, *PERIOD_COLUMNS.values(), "null", "true", "false"):
                yield f"{shown} is given {variable}={value!r}, which is no column. Use {', '.join(columns)}."
