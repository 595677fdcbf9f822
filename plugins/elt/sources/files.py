"""Files that lie where they can be listed: found by name or by pattern, and read in pieces.

What the places have in common, and the simplest of them, a folder of this machine. The others are in
`elt.sources.buckets` and `elt.sources.sftp`.
"""

import hashlib
import json
import os
import re
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Self

from elt.catalogue import Dataset
from elt.errors import PermanentError, SourceNotPublishedError, TransientError, first_line
from elt.periods import Period
from elt.sources import Incoming, client
from elt.sources.client import Allowance, Limits, Patience, Published

# Files of one partition: each costs requests, and all of them are in the manifest.
MOST_FILES = 10_000
# Bytes: only a whole piece is progress.
PIECE = 1 << 18


class ChangedError(TransientError):
    """A file that was written while it was read: what came of it is of neither state."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url}: changed at the source while it was read. Try again.")


class Files(ABC):
    """The files of one place, by their whole addresses. Leave it as a context manager: that closes it.

    All of it raises TransientError where the place does not answer, PermanentError where it never will.
    """

    def __init__(self, limits: Limits | None = None, patience: Patience | None = None) -> None:
        self._limits, self._patience = limits or Limits(), patience or client.PATIENCE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - not every place has connections
        """End its connections."""

    @abstractmethod
    def find(self, url: str) -> Published | None:
        """One file; None if it is not there."""

    @abstractmethod
    def list(self, beginning: str) -> Iterator[Published]:
        """The files of one folder, not of those in it, whose addresses begin so; in any order."""

    @abstractmethod
    def read(self, file: Published, start: int) -> Generator[bytes, None, None]:
        """The pieces of a file from a byte on; ChangedError if it is no longer that very file."""

    def probe(self, url: str, name: str) -> Published | None:  # noqa: ARG002 - an HTTP client's, too
        """Ask for a file, or for all that match a pattern, as one; None if there is none."""
        if "*" not in url.rpartition("/")[2]:
            return self.find(url)
        found = self.matching(url)
        return as_one(url, found) if found else None

    def matching(self, pattern: str) -> tuple[Published, ...]:
        """The files that match a pattern in its last part, in the order of their names."""
        form = re.compile("[^/]*".join(map(re.escape, pattern.split("*"))))
        every = (file for file in self.list(pattern.partition("*")[0]) if form.fullmatch(file.url))
        found = tuple(islice(every, MOST_FILES + 1))
        if len(found) > MOST_FILES:
            raise PermanentError(
                f"{pattern} matches more than {MOST_FILES:,} files. Give each partition a folder of its own."
            )
        return tuple(sorted(found, key=lambda file: file.url))

    def open(self, url: str, name: str) -> AbstractContextManager[Incoming]:
        """Begin to read a file; SourceNotPublishedError if it is not there."""
        found = self.find(url)
        if found is None:
            raise SourceNotPublishedError(f"{name}: not published ({url} is not there)")
        return _closing(FileTransfer(self, found, name, self._limits, self._patience))

    def part(self, url: str, name: str, start: int, end: int) -> bytes | None:
        """Read a part of a file, a few MiB; raises what `open` raises, and TransientError for less of it."""
        with self.open(url, name) as transfer, closing(self.read(transfer.published, start)) as pieces:
            part = bytearray()
            while len(part) < end - start and (piece := next(pieces, b"")):
                part += piece
        if len(part) < end - start:
            raise TransientError(f"{name}: a part of it did not arrive whole ({url}). Try again.")
        return bytes(part[: end - start])


class FileTransfer:
    """One file on its way: an iterator of its pieces, in order, each byte once; continued where it breaks."""

    def __init__(
        self, files: Files, published: Published, name: str, limits: Limits, patience: Patience
    ) -> None:
        self.published, self.received = published, 0
        self._files, self._name, self._patience = files, name, patience
        self._allowance = Allowance(name, limits)
        self._allowance.check(published.size or 0)
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        pauses, fresh = iter(self._patience.pauses), 0
        while True:
            try:
                piece = self._next()
            except ChangedError:
                raise
            except TransientError:
                self.close()
                # A place that sends a byte per connection is given up.
                pauses, fresh = iter(self._patience.pauses) if fresh >= PIECE else pauses, 0
                pause = next(pauses, None)
                if pause is None:
                    raise
                self._allowance.check(self.received)
                time.sleep(pause)
                continue
            if not piece:
                return
            self.received, fresh = self.received + len(piece), fresh + len(piece)
            self._allowance.check(self.received)
            yield piece

    def close(self) -> None:
        """End what is being read."""
        pieces, self._pieces = self._pieces, None
        close: Callable[[], None] | None = getattr(pieces, "close", None)
        if close:
            close()

    def _next(self) -> bytes:
        """The next piece; nothing at the file's end, TransientError before it."""
        self._pieces = self._pieces or iter(self._files.read(self.published, self.received))
        piece = next(self._pieces, b"")
        if not piece and self.received != self.published.size:
            raise TransientError(
                f"{self._name}: truncated (got {self.received:,} of {self.published.size or 0:,} bytes)"
            )
        return piece


@contextmanager
def _closing(transfer: FileTransfer) -> Iterator[FileTransfer]:
    try:
        yield transfer
    finally:
        transfer.close()


def as_one(url: str, files: Collection[Published]) -> Published:
    """What several files are together: another one, a missing one or a changed one is another ETag."""
    facts = [(file.url, file.etag or (file.last_modified, file.size)) for file in files]
    etag = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return Published(url, etag, None, sum(file.size or 0 for file in files))


class FileSource:
    """Where the files of one dataset are: below `base`, unless its path is a whole URL.

    `base_url` is what the load log calls this source. Leaving it as a context manager closes the files.
    """

    def __init__(self, dataset: Dataset, base: str, files: Files, base_url: str = "") -> None:
        self._dataset, self._base, self._files = dataset, base, files
        self.base_url = base_url or base

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def probe(self, period: Period | None) -> Published | None:
        """Ask for a period's file, or for all its files as one; None if there is none, or not all."""
        if not self._dataset.sharded:
            return self._files.probe(self.url(period), self._dataset.file_name(period))
        found = self._complete(period)
        return as_one(self.url(period), found) if found else None

    def open(self, period: Period | None) -> AbstractContextManager[Incoming]:
        """Begin to read a period's file."""
        return self._files.open(self.url(period), self._dataset.file_name(period))

    def shards(self, period: Period | None) -> tuple[Published, ...]:
        """The files of a period that is several; SourceNotPublishedError if there is none, or not all."""
        found = self._complete(period)
        if not found:
            marker = self._dataset.marker_url(period, self._base)
            raise SourceNotPublishedError(
                f"{self._dataset.file_name(period)}: not published ({self.url(period)}"
                f"{f', and beside it {marker}' if marker else ''})"
            )
        return found

    def _complete(self, period: Period | None) -> tuple[Published, ...]:
        """The files of a period, without the marker, which is asked for first: none where it is missing."""
        marker = self._dataset.marker_url(period, self._base)
        if marker and self._files.find(marker) is None:
            return ()
        return tuple(file for file in self._files.matching(self.url(period)) if file.url != marker)

    def open_shard(self, shard: Published) -> AbstractContextManager[Incoming]:
        """Begin to read one of them."""
        return self._files.open(shard.url, shard.url.rpartition("/")[2])

    def url(self, period: Period | None) -> str:
        """The address of a period's file, or the pattern of all its files."""
        return self._dataset.url(period, self._base)


class LocalFiles(Files):
    """Files of this machine, by file:/// and their path as it is: nothing in it is encoded."""

    def find(self, url: str) -> Published | None:
        """Ask the file system."""
        with _readable(url):
            try:
                found = _path(url).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _local(url, found) if stat.S_ISREG(found.st_mode) else None

    def list(self, beginning: str) -> Iterator[Published]:
        """Scan one folder; one that is not there has no files."""
        folder, _, start = beginning.rpartition("/")
        with _readable(folder):
            try:
                names = [each.name for each in os.scandir(_path(f"{folder}/")) if each.name.startswith(start)]
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in names:
            # It may have gone since.
            if found := self.find(f"{folder}/{name}"):
                yield found

    def read(self, file: Published, start: int) -> Generator[bytes, None, None]:
        """Read a file that nobody may write meanwhile: whoever publishes there has to rename."""
        with _readable(file.url), _path(file.url).open("rb") as stream:
            _check_same(file, stream.fileno())
            stream.seek(start)
            while piece := stream.read(PIECE):
                yield piece
            _check_same(file, stream.fileno())


def _path(url: str) -> Path:
    return Path(url.removeprefix("file://"))


def _local(url: str, found: os.stat_result) -> Published:
    # To the nanosecond: a file that is written twice within a second is another one.
    return Published(url, f"{found.st_mtime_ns}-{found.st_size}", None, found.st_size)


def _check_same(file: Published, descriptor: int) -> None:
    if _local(file.url, os.fstat(descriptor)) != file:
        raise ChangedError(file.url)


@contextmanager
def _readable(url: str) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise PermanentError(
            f"{url} may not be read by user {os.getuid()}. Let that user read the file and its folders."
        ) from None
    except OSError as error:
        raise TransientError(f"{url} cannot be read ({first_line(error)}).") from None
