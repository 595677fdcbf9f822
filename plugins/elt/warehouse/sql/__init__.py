"""SQL statements, one per file. `${variable}` is a table or column, `@name` a query parameter."""

import re
from collections.abc import Mapping
from functools import cache
from string import Template
from typing import TypeVar

from elt.catalogue import Audit
from elt.catalogue.checks import Packages

T = TypeVar("T")


@cache
def _packages() -> Packages:
    return Packages()


def forget() -> None:
    """Read files again that have been read, for a process that outlives them."""
    text.cache_clear()
    _packages.cache_clear()


@cache
def text(name: str, package: str = "") -> str:
    """A statement's text without its last semicolon; FileNotFoundError if there is no file.

    `package` is the one of the entry that names an audit; see `Packages.sql` for the order.
    """
    files = _packages().sql(name, package)
    if not files:
        raise FileNotFoundError(f"there is no file sql/{name}.sql in the library or in a package")
    return bare(files[0].read_text(encoding="utf-8"))


def bare(written: str) -> str:
    """A statement that others can follow: without its last semicolon, its last comment closed."""
    found = written.strip().rstrip(";")
    return f"{found}\n" if "--" in found.rpartition("\n")[2] else found


def statement(name: str, /, **variables: str) -> str:
    """Fill in a statement's template variables; KeyError names one that is not given."""
    return Template(text(name)).substitute(variables)


def numbered(text: str, number: int, given: Mapping[str, T]) -> tuple[str, dict[str, T]]:
    """A statement and its parameters under names of their own: one job can run several of its like."""
    if not given:
        return text, {}
    names = "|".join(map(re.escape, given))
    own = {f"{name}_{number}": value for name, value in given.items()}
    return re.sub(rf"@({names})\b", rf"@\1_{number}", text), own


def audit_statement(audit: Audit, package: str, /, **given: str) -> str:
    """Fill in an audit's own variables and those that every audit is given."""
    return Template(text(f"audits/{audit.name}", package)).substitute(given, **audit.variables)
