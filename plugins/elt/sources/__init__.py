"""Where files are published: what a source answers, reading it, and what it has changed since."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, Self

from elt.periods import Period

if TYPE_CHECKING:
    from elt.sources.client import Published, Transfer


class Source(Protocol):
    """Where the files of one dataset are published. Leaving it as a context manager closes its session."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def base_url(self) -> str:
        """The address they are below, without user and password: the load log's `source`."""

    def probe(self, period: Period | None) -> Published | None:
        """Ask with one HEAD request for a file; None if it is not published."""

    def open(self, period: Period | None) -> AbstractContextManager[Transfer]:
        """Begin to read a file with one GET request; SourceNotPublishedError if it is not published."""
