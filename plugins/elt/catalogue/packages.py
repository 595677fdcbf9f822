"""The packages beside the library, which have the entries and their SQL. None is named anywhere.

A package is a folder of `plugins/` with a folder `datasets` in it:

    <package>/datasets/*.py     entries
    <package>/marts.py          marts
    <package>/sql/audits/       a rule over a staged month
    <package>/sql/marts/        how a mart is filled, in BigQuery's SQL
    <package>/sql/postgres/     the same, in Postgres' SQL
    <package>/sql/views/        what people read of a mart, in SQL that both understand
"""

from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules

import elt

LIBRARY = Path(elt.__file__).parent


@dataclass(frozen=True)
class Packages:
    """The packages of one folder, from which Python has to be able to import."""

    folder: Path = LIBRARY.parent

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
        own = [self.folder / package] if package else []
        others = [self.folder / other for other in self.names() if other != package]
        for places in (own, [LIBRARY / "warehouse"], others):
            if found := [file for place in places if (file := place / "sql" / f"{name}.sql").is_file()]:
                return found
        return []

    def shown(self, file: Path) -> str:
        """The file as somebody calls it who is in the checkout."""
        return str(file.relative_to(self.folder.parent)) if self.folder in file.parents else str(file)
