"""Where data is published: what a source answers, reading it, and what it has changed since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, Self

from elt.periods import Period

if TYPE_CHECKING:
    from elt.sources.client import Published


class Incoming(Protocol):
    """A partition on its way: an iterator of its bytes, in pieces, in order."""

    @property
    def published(self) -> Published:
        """What the source states about it."""

    def __iter__(self) -> Iterator[bytes]: ...


class Source(Protocol):
    """Where the files of one dataset are published. Leaving it as a context manager closes its session."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def base_url(self) -> str:
        """The address they are below, without user and password: the load log's `source`."""

    def probe(self, period: Period | None) -> Published | None:
        """Ask, with one request where that does, whether a partition is published; None if it is not."""

    def open(self, period: Period | None) -> AbstractContextManager[Incoming]:
        """Begin to read a partition.

        SourceNotPublishedError if it is not published, here or before its last piece.
        """
