"""The SQL, one statement a file. `${word}` is a table or column of ours, `@name` a value."""

from functools import cache
from pathlib import Path
from string import Template

_FOLDER = Path(__file__).parent


@cache
def text(name: str) -> str:
    """A statement as its file has it."""
    return (_FOLDER / f"{name}.sql").read_text().strip().rstrip(";")


def statement(name: str, **words: str) -> str:
    """Fill a statement's words in; KeyError names one that is not given."""
    return Template(text(name)).substitute(words)
