"""Sources that are no files, as an entry describes them: an API that answers in pages, a table of a database.

Templates stand in paths, parameters and queries: `{year}`, `{month}`, `{day}` and `{hour}` as in the paths of
files, and the bounds of the partition: `{start}` and `{end}` (not part of it any more), as dates
`{start_date}`, `{end_date}` and `{last_date}` (its last day).
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from elt.errors import InvalidDatasetError
from elt.periods import Period

# Each tells partitions apart.
TEMPLATES = (
    "{year}",
    "{month}",
    "{day}",
    "{hour}",
    "{start}",
    "{end}",
    "{start_date}",
    "{end_date}",
    "{last_date}",
)
_CONNECTION = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class NextLink:
    """Each page has the address of the next one: at `path` (`links.next`), or ("") in its Link header."""

    path: str = ""


@dataclass(frozen=True)
class Cursor:
    """Each page has at `path` (`meta.next`) what `param` has to be for the next; nothing there: the last."""

    path: str
    param: str = "cursor"


@dataclass(frozen=True)
class PageNumber:
    """`param` counts pages, until one is empty, or all records are here that the page counts at `total`.

    A page that is not full is not the last: an API may give fewer records than it is asked for.
    """

    param: str = "page"
    first: int = 1
    total: str = ""


@dataclass(frozen=True)
class Offset:
    """`param` counts records: as `PageNumber`, but each page begins behind the records that are here."""

    param: str = "offset"
    first: int = 0
    total: str = ""


Paging: TypeAlias = NextLink | Cursor | PageNumber | Offset


@dataclass(frozen=True)
class Api:
    """An API that answers with JSON: the id of an Airflow HTTP connection, and the address without one.

    The connection may name another host, and holds a bearer token (as the password, without a login), a login
    and password, or headers (in extra). `records` is where a page has its list of records, like `data.items`
    ("": the page is the list); an object there is one record. `params` are query parameters.
    """

    connection: str
    base_url: str
    records: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    paging: Paging | None = None

    def __post_init__(self) -> None:
        for mistake in self._mistakes():
            raise InvalidDatasetError(f"API {self.connection}: {mistake}")

    def _mistakes(self) -> Iterator[str]:
        yield from _mistakes_of(self.connection)
        if not self.base_url.startswith(("http://", "https://")):
            yield f"{self.base_url!r} is not a URL. Write it like https://api.example.com."
        paths = (self.records, getattr(self.paging, "path", ""), getattr(self.paging, "total", ""))
        for path in paths:
            if path and "" in path.split("."):
                yield f"{path!r} is no path of names. Write it like data.items."
        if isinstance(self.paging, Cursor) and not self.paging.path:
            yield "its cursor has no path. Write where a page has it, like meta.next."

    def of_partitions(self, path: str) -> bool:
        """Whether its requests tell partitions apart."""
        return any(template in text for text in (path, *self.params.values()) for template in TEMPLATES)


@dataclass(frozen=True)
class Database:
    """A table, or the rows of a query, in the database of an Airflow connection (postgres or mysql) by id.

    A partition has the rows whose `cursor`, a date or time in UTC, is in it; or a query says so itself, with
    `'{start}'` and `'{end}'`. Names are case-sensitive; a table is `name` or `schema.name`.
    """

    connection: str
    table: str = ""
    query: str = ""
    cursor: str = ""

    def __post_init__(self) -> None:
        for mistake in self._mistakes():
            raise InvalidDatasetError(f"database {self.connection}: {mistake}")

    def _mistakes(self) -> Iterator[str]:
        yield from _mistakes_of(self.connection)
        if bool(self.table) == bool(self.query.strip()):
            yield "what to read is not clear. Set either table or query."
        if "" in self.table.split(".") and self.table:
            yield f"{self.table!r} is no table. Write it like trips or public.trips."
        if "\0" in self.table + self.query + self.cursor:
            yield "it has a NUL, which no database takes. Leave it out."

    def of_partitions(self, path: str = "") -> bool:  # noqa: ARG002 - as an API's
        """Whether it tells partitions apart."""
        return bool(self.cursor) or any(template in self.query for template in TEMPLATES)


def bounds(period: Period, zone: str, separator: str) -> Mapping[str, str]:
    """What the templates of a period's bounds stand for; `zone` stands behind moments, which are in UTC."""
    last = period.end - dt.timedelta(microseconds=1)
    return {
        "{start}": period.start.isoformat(separator, "seconds") + zone,
        "{end}": period.end.isoformat(separator, "seconds") + zone,
        "{start_date}": str(period.start.date()),
        "{end_date}": str(period.end.date()),
        "{last_date}": str(last.date()),
    }


def _mistakes_of(connection: str) -> Iterator[str]:
    if not _CONNECTION.fullmatch(connection):
        yield f"{connection!r} cannot be a connection's id. Use a-z, 0-9 and _."
