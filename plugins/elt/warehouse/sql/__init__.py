"""The SQL, one statement a file. `${variable}` is a table or column of ours, `@name` a value of a query."""

from functools import cache
from string import Template

from elt.catalogue import Audit
from elt.catalogue.packages import Packages


@cache
def text(name: str, package: str = "") -> str:
    """A statement as its file has it, without the semicolon at its end.

    Of an audit, `package` is that of the entry which names it. FileNotFoundError if there is none.
    """
    files = Packages().sql(name, package)
    if not files:
        raise FileNotFoundError(f"there is no file sql/{name}.sql in the library or in a package")
    return files[0].read_text(encoding="utf-8").strip().rstrip(";")


def statement(name: str, /, **variables: str) -> str:
    """Fill in a statement's template variables; KeyError names one that is not given."""
    return Template(text(name)).substitute(variables)


def audit_statement(audit: Audit, package: str, /, **given: str) -> str:
    """Fill in an audit's own variables and those that every audit is given."""
    return Template(text(f"audits/{audit.name}", package)).substitute(given, **audit.variables)
