"""The packages beside the library, which have the entries and their SQL. None is named anywhere.

A package is a folder of `plugins/` with a folder `datasets` in it:

    <package>/datasets/*.py     entries
    <package>/marts.py          marts
    <package>/sql/audits/       a rule over a staged month
    <package>/sql/marts/        how a mart is filled, in BigQuery's SQL
    <package>/sql/postgres/     the same, in Postgres' SQL
    <package>/sql/views/        what people read of a mart, in SQL that both understand
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
    """The packages of one folder, from which Python has to be able to import, as they are found first."""

    folder: Path = LIBRARY.parent

    @cached_property
    def names(self) -> list[str]:
        """Their names, in the alphabet's order."""
        return sorted(path.parent.name for path in self.folder.glob("*/datasets") if path.is_dir())

    def modules(self, package: str) -> dict[str, Path]:
        """What may have entries of a package: its modules, by their names for import."""
        datasets, marts = self.folder / package / "datasets", self.folder / package / "marts.py"
        found = {
            f"{package}.datasets.{name}": datasets / (f"{name}/__init__.py" if is_package else f"{name}.py")
            for _, name, is_package in iter_modules([str(datasets)])
        }
        return found | ({f"{package}.marts": marts} if marts.exists() else {})

    def sql(self, name: str, package: str = "") -> list[Path]:
        """Files of a statement such as `audits/row_count`; several where it is not clear which is meant.

        A package's own goes before the library's, so that its audits may have any names. Where no package
        asks, the library's goes before all others: nobody changes what the library itself runs.
        """
        others = [other for other in self.names if other != package]
        for owners in ([package] if package else [], ["elt"], others):
            if found := [files[name] for owner in owners if name in (files := self._statements[owner])]:
                return found
        return []

    @cached_property
    def _statements(self) -> Mapping[str, Mapping[str, Path]]:
        """Every package's SQL files, and the library's, by what they are asked for."""
        folders = {name: self.folder / name / "sql" for name in self.names}
        folders["elt"] = LIBRARY / "warehouse" / "sql"
        return {
            name: {str(file.relative_to(folder).with_suffix("")): file for file in folder.rglob("*.sql")}
            for name, folder in folders.items()
        }

    def shown(self, file: Path) -> str:
        """The file as somebody calls it who is in the checkout."""
        return str(file.relative_to(self.folder.parent)) if self.folder in file.parents else str(file)
