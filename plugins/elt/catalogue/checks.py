"""What is wrong with an entry beside the others and with its SQL: sentences, none where all is well.

Otherwise a task would find out, after a gigabyte is downloaded, that a file is not there or that a
template variable is not given. What an entry can know of itself it checks when it is made.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import Template

from elt.catalogue.model import GIVEN_TO_AUDITS, MONTH_COLUMN, Dataset, Mart
from elt.catalogue.packages import Packages
from elt.errors import InvalidDatasetError
from elt.layout import lake_table, mart_table

_NOTHING: Mapping[str, str] = {}


def clash(one: Dataset | Mart, other: Dataset | Mart) -> str:
    """A name that two entries cannot both have; empty if there is none."""
    if isinstance(one, Dataset) and isinstance(other, Dataset) and one.name == other.name:
        return f"the name {one.name}"
    common = _tables(one) & _tables(other)
    for entry, beside in ((one, other), (other, one)):
        # In Postgres a month's table is beside the others, under a name that another may have chosen.
        if isinstance(entry, Dataset) and entry.tabular and entry.monthly:
            common |= {name for name in _tables(beside) if re.fullmatch(rf"{entry.table}_\d{{4}}_\d\d", name)}
    return f"the table {min(common)}" if common else ""


def _tables(entry: Dataset | Mart) -> set[str]:
    if isinstance(entry, Mart):
        return {entry.name, mart_table(entry.name)}
    return {entry.table, lake_table(entry)} if entry.tabular else set()


def _is_in_postgres(mart: Mart, datasets: Iterable[Dataset]) -> bool:
    return any(ds.in_postgres and feed.mart == mart.name for ds in datasets for feed in ds.feeds)


@dataclass(frozen=True)
class Checks:
    """The checks of entries in the packages that they and their SQL are from."""

    packages: Packages

    def of_mart(self, mart: Mart, datasets: Collection[Dataset]) -> Iterator[str]:
        """Check a mart's files, and its view; what else it is given is of the datasets that feed it."""
        yield from self._file(f"marts/{mart.name}")
        yield from self._file(f"postgres/{mart.name}") if _is_in_postgres(mart, datasets) else ()
        yield from self._file(f"views/{mart.name}")
        yield from self._given(f"views/{mart.name}", ("mart", *mart.lookups))

    def of_lookups(self, mart: Mart, datasets: Mapping[str, Dataset]) -> Iterator[str]:
        """Check that what a mart's view joins is a table wherever the view is."""
        for name in mart.lookups:
            ds = datasets.get(name)
            if ds is None or not ds.tabular:
                yield f"its lookup {name!r} is no dataset with a table. Correct lookups."
            elif not ds.in_postgres and _is_in_postgres(mart, datasets.values()):
                yield f"its lookup {name} is not in Postgres, where the mart is. Set postgres=True there."

    def of_dataset(self, ds: Dataset, marts: Collection[str]) -> Iterator[str]:
        """Check a dataset's source, and what it gives to its audits and to the marts that it feeds."""
        columns = [column.name for column in ds.columns]
        try:
            ds.check_source()
        except InvalidDatasetError as error:
            yield str(error).removeprefix(f"dataset {ds.name}: ")
        for audit in ds.audits:
            name = f"audits/{audit.name}"
            yield from self._file(name, ds.package)
            yield from self._given(name, GIVEN_TO_AUDITS, audit.variables, columns, ds.package)
        for feed in ds.feeds:
            if feed.mart not in marts:
                yield f"it feeds the mart {feed.mart!r}, which is not there. Use {', '.join(sorted(marts))}."
            yield from self._given(f"marts/{feed.mart}", ("mart", "source"), feed.variables, columns)
            if ds.in_postgres:
                yield from self._given(
                    f"postgres/{feed.mart}", ("dataset", "source"), feed.variables, columns
                )

    def _file(self, name: str, package: str = "") -> Iterator[str]:
        files = self.packages.sql(name, package)
        if not files:
            yield f"there is no file sql/{name}.sql. Write it, or correct the name."
        elif len(files) > 1:
            yield f"there are {' and '.join(map(self.packages.shown, files))}. Rename one of them."
        else:
            try:
                files[0].read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                yield f"{self.packages.shown(files[0])} cannot be read ({error}). Save it as UTF-8 text."

    def _given(
        self,
        name: str,
        given: Collection[str],
        variables: Mapping[str, str] = _NOTHING,
        columns: Collection[str] = (),
        package: str = "",
    ) -> Iterator[str]:
        """Check a statement's template variables: `given` by the library, `variables` by the entry."""
        if list(self._file(name, package)):
            return  # whoever the file belongs to is told
        [file] = self.packages.sql(name, package)
        text, shown = file.read_text(encoding="utf-8"), self.packages.shown(file)
        if not Template(text).is_valid():
            yield f"{shown} has a $ that begins no template variable. Write $$ for a dollar sign."
        for variable in Template(text).get_identifiers():
            if variable not in (*given, *variables):
                yield f"{shown} has ${{{variable}}}, which is not given. Give it, or correct the file."
        # In quotes a value is a text. Outside of them a bare word is a column; more cannot be seen from here.
        code = re.sub(r"'[^']*'", "", text)
        for variable, value in variables.items():
            if variable in given:
                yield f"{shown} is given {variable} in any case. Call the variable otherwise."
            bare = re.fullmatch(r"[a-z_]\w*", value) and re.search(rf"\$\{{?{variable}\b", code)
            if bare and value not in (*columns, MONTH_COLUMN, "null", "true", "false"):
                yield f"{shown} is given {variable}={value!r}, which is no column. Use {', '.join(columns)}."
