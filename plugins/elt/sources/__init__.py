"""Where data is published: what a source answers, reading it, and what it has changed since.

`open_source` and `reach` are the one place that knows which kind of address is asked how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit

from elt.errors import PermanentError
from elt.periods import Period

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from elt.catalogue import Dataset
    from elt.connection_fields import ConnectionFields
    from elt.settings import Settings
    from elt.sources.client import Limits, Published
    from elt.sources.files import Files


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


class ShardedSource(Source, Protocol):
    """The source of a dataset whose partitions are several files: `probe` states what they are together."""

    def url(self, period: Period | None) -> str:
        """The pattern that a partition's files match."""

    def shards(self, period: Period | None) -> tuple[Published, ...]:
        """The files of a partition, by name; SourceNotPublishedError if there is none."""

    def open_shard(self, shard: Published) -> AbstractContextManager[Incoming]:
        """Begin to read one of them."""


class Place(Protocol):
    """What asks for files by their whole addresses; `name` is what messages call a file."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def probe(self, url: str, name: str) -> Published | None:
        """Ask for a file; None if it is not published."""

    def open(self, url: str, name: str) -> AbstractContextManager[Incoming]:
        """Begin to read a file; SourceNotPublishedError if it is not published."""

    def part(self, url: str, name: str, start: int, end: int) -> bytes | None:
        """Read a part of a file, a few MiB; None where the source sends no parts."""


def open_source(
    dataset: Dataset,
    found: ConnectionFields | None,
    google: Callable[[], Client],
    settings: Settings | None = None,
) -> Source:
    """A dataset's source, by the connection that its entry names (None: there is none).

    `google` makes a storage client, where one is needed. Without settings, their limits are the defaults:
    whoever only probes needs none.
    """
    from elt.catalogue import Api, Database
    from elt.sources.client import HttpSource, Limits

    limits = Limits(settings.max_file_bytes, settings.download_seconds) if settings else None
    if isinstance(dataset.source, Database):
        from elt.sources.database import DatabaseSource

        return DatabaseSource(dataset, found, limits)
    if isinstance(dataset.source, Api):
        from elt.sources.api import ApiSource

        secrets = found.secrets() if found else {}
        return ApiSource(dataset, found.url() if found else "", limits=limits, **secrets)
    base = base_of(dataset, found)
    if base.startswith(("http://", "https://")):
        secrets = found.secrets() if found else {}
        return HttpSource(dataset, base, limits=limits, **secrets)

    from elt.sources.files import FileSource

    files = _files(base, found, google, limits)
    # Another service with a bucket of the same name is another source: a sample never passes for real.
    endpoint = found.extra.get("endpoint_url") if found and base.startswith("s3://") else None
    return FileSource(dataset, base, files, f"{base}?endpoint={endpoint}" if endpoint else base)


def reach(url: str, found: ConnectionFields | None, google: Callable[[], Client]) -> Place:
    """Whatever answers for the file at `url`, by this connection."""
    if not url.startswith(("http://", "https://")):
        return _files(url, found, google)

    from elt.sources.client import HttpClient

    return HttpClient(found.url(), **found.secrets()) if found else HttpClient(url)


def base_of(dataset: Dataset, found: ConnectionFields | None) -> str:
    """The URL that a dataset's files are below: its publisher's, or at the host that the connection names."""
    path = urlsplit(dataset.path)
    base: str = getattr(dataset.source, "base_url", "")
    if path.scheme not in ("", "http", "https"):
        return f"{path.scheme}://{path.netloc}"
    if found and urlsplit(base or dataset.path).scheme in ("http", "https"):
        return found.url()
    if found and found.host and base.startswith("sftp://"):
        host = f"{found.host}:{found.port}" if found.port else found.host
        return urlsplit(base)._replace(netloc=host).geturl()
    return base or f"{path.scheme}://{path.netloc}"


def _files(
    url: str, found: ConnectionFields | None, google: Callable[[], Client], limits: Limits | None = None
) -> Files:
    """What reads the files of a place, by its scheme."""
    match url.partition("://")[0]:
        case "gs":
            from elt.sources.buckets import GoogleFiles

            return GoogleFiles(google, limits)
        case "s3":
            from elt.sources.buckets import S3Files

            return S3Files(found, limits)
        case "sftp":
            try:
                from elt.sources.sftp import SftpFiles
            except ImportError:
                raise PermanentError(
                    f"{url} needs the package asyncssh, which is not installed. Call scripts/up: it adds it "
                    "where an entry has an sftp:// address."
                ) from None
            return SftpFiles(url, found, limits)
        case _:
            from elt.sources.files import LocalFiles

            return LocalFiles(limits)
