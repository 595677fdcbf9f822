"""Packages: the folders of `plugins/` that bring entries and their SQL.

A folder is a package if it contains a folder `datasets`; no list names it:

    <package>/datasets/*.py     entries
    <package>/marts.py          marts
    <package>/sql/audits/       a rule over a staged month
    <package>/sql/marts/        the query that fills a mart, in BigQuery's SQL
    <package>/sql/postgres/     the same query in Postgres' SQL
    <package>/sql/views/        the view that people query, in SQL valid in both
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pkgutil import iter_modules

import elt

LIBRARY = Path(elt.__file__).parent


@dataclass(frozen=True)
class Packages:
    """The packages of one folder, which has to be on `sys.path`. Each folder is listed once per instance."""

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
