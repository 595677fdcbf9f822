"""The SQL, one statement a file. `${word}` is a table or column of ours, `@name` a value."""

from functools import cache
from pathlib import Path
from string import Template

from elt.catalogue.registry import sql_folders

_FOLDER = Path(__file__).parent


@cache
def text(name: str) -> str:
    """A statement as its file has it: the library's, or a package's."""
    files = [folder / f"{name}.sql" for folder in (_FOLDER, *sql_folders())]
    found = next((file for file in files if file.exists()), files[0])
    return found.read_text().strip().rstrip(";")


def statement(name: str, **words: str) -> str:
    """Fill a statement's words in; KeyError names one that is not given."""
    return Template(text(name)).substitute(words)
