"""The bucket, over Google's own client. An object is complete or absent, whenever this process dies."""

import base64
import datetime as dt
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, Protocol, Self

import requests
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from elt.errors import TransientError, first_line
from elt.stores import denied, token_error

# Bytes of an upload that are in memory at once, so that its size does not matter; a multiple of 256 KiB.
CHUNK = 3 * 2**20
# Bytes that a file which is read here and there fetches at least, at a time.
RANGE = 2**20
# Seconds to connect within, and between two pieces of an answer.
TIMEOUT = (10.0, 60.0)
# Seconds to repeat a request within; longer outages are for whoever calls again.
REPEAT_SECONDS = 15.0


class Readable(Protocol):
    """What an upload reads from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""

    def tell(self) -> int:
        """Return how many bytes were read."""


@dataclass(frozen=True)
class Content:
    """What an object shall be; `size` is None where the stream alone knows its end."""

    stream: Readable
    size: int | None
    media_type: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Stored:
    """An object: its metadata are ours, its generation changes with every write, at the time `updated`."""

    name: str
    size: int
    generation: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    updated: dt.datetime | None = None


class Lake:
    """The stack's bucket. Leave it as a context manager: that closes the client.

    Raises TransientError, AccessDeniedError among them, with the object's address; PermanentError for
    credentials that are none.
    """

    def __init__(self, client: Client, bucket: str, *, retry: Retry | None = None) -> None:
        self._client, self._name = client, bucket
        self._bucket = client.bucket(bucket)
        self._how = {"timeout": TIMEOUT, "retry": retry or DEFAULT_RETRY.with_timeout(REPEAT_SECONDS)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def uri(self, name: str) -> str:
        """Address of an object for BigQuery."""
        return f"gs://{self._name}/{name}"

    def find(self, name: str) -> Stored | None:
        """Look an object up; None if it is not there."""
        with self._errors(name):
            blob = self._bucket.get_blob(name, **self._how)
        return _stored(blob) if blob else None

    def list(self, prefix: str) -> Iterator[Stored]:
        """Go through the objects below a prefix."""
        with self._errors(prefix):
            for blob in self._bucket.list_blobs(prefix=prefix, **self._how):
                yield _stored(blob)

    def write(self, name: str, content: Content, *, over: Stored | Literal["any"] | None = "any") -> Stored:
        """Upload a stream; if it raises before its end, the object stays as it was.

        `over` is what may be replaced: that very object, or (None) nothing.
        Raises TransientError if there is another.
        """
        blob = self._bucket.blob(name, chunk_size=CHUNK)
        blob.metadata = dict(content.metadata)
        # Generation 0 is the API's word for: only if there is no such object.
        expected = None if over == "any" else over.generation if over else 0
        with self._errors(name):
            try:
                blob.upload_from_file(
                    content.stream,
                    size=content.size,
                    content_type=content.media_type,
                    if_generation_match=expected,
                    **self._how,
                )
            except ValueError as error:
                # The lake may keep less of a piece than it was sent, and the client cannot send a part again.
                text = f"{self.uri(name)}: the upload was not kept whole ({first_line(error)}). Try again."
                raise TransientError(text) from None
        return _stored(blob)

    def describe(self, stored: Stored, metadata: Mapping[str, str]) -> Stored:
        """Add metadata to exactly the object that was written, not to one that has replaced it."""
        blob = self._bucket.blob(stored.name)
        blob.metadata = {**stored.metadata, **metadata}
        with self._errors(stored.name):
            blob.patch(if_generation_match=stored.generation, **self._how)
        return _stored(blob)

    def fetch(self, stored: Stored) -> BinaryIO:
        """Return that very object as an open file without a name: nothing to clean up after a kill.

        It is continued where the connection breaks, as long as each attempt gets on.
        """
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        blob = self._bucket.blob(stored.name, generation=stored.generation)
        try:
            with self._errors(stored.name):
                continued = False
                while not self._receive(blob, file):
                    continued = True
                if continued:
                    self._check_whole(blob, stored, file)
            file.seek(0)
        except BaseException:
            # Without a name it takes disk until it is closed.
            file.close()
            raise
        return file

    def open(self, stored: Stored) -> BinaryIO:
        """Return that very object as a file to seek in: of it is fetched only what is read."""
        return io.BufferedReader(_Ranges(self, stored), RANGE)

    def part(self, stored: Stored, start: int, size: int) -> bytes:
        """Return some bytes of that very object, fewer at its end."""
        end = min(start + size, stored.size)
        if start >= end:
            return b""
        blob = self._bucket.blob(stored.name, generation=stored.generation)
        with self._errors(stored.name):
            # A part has no checksum of its own to be compared with.
            return bytes(blob.download_as_bytes(start=start, end=end - 1, checksum=None, **self._how))

    def _receive(self, blob: Blob, file: BinaryIO) -> bool:
        """Download the rest of an object; False if that broke on the way."""
        begun = file.tell()
        try:
            blob.download_to_file(file, start=begun or None, **self._how)
        except (exceptions.RetryError, exceptions.ServerError, requests.RequestException):
            # The client continues by itself, for REPEAT_SECONDS from the *beginning* of the whole download.
            if file.tell() == begun:
                raise
            return False
        return True

    def _check_whole(self, blob: Blob, stored: Stored, file: BinaryIO) -> None:
        """Compare a file with the object: of a download that was continued the client checks nothing."""
        import google_crc32c  # by the client, too, but only when it has something to check

        size = file.tell()
        file_sum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        file.seek(0)
        for _ in file_sum.consume(file, CHUNK):
            pass
        if size != stored.size or (blob.crc32c and base64.b64decode(blob.crc32c) != file_sum.digest()):
            raise TransientError(f"{self.uri(stored.name)}: damaged on the way. Try again.")

    def remove(self, name: str) -> None:
        """Delete an object that may be gone already."""
        with self._errors(name):
            # A single DELETE would raise where there is none; this is the client's own way to ignore that.
            self._bucket.delete_blobs([self._bucket.blob(name)], on_error=lambda _: None, **self._how)

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Turn the client's errors into ours."""
        address = self.uri(name)
        try:
            yield
        except (exceptions.Unauthorized, exceptions.Forbidden) as error:
            raise denied(address, first_line(error)) from None
        except exceptions.PreconditionFailed:
            raise TransientError(f"{address}: replaced by someone else meanwhile. Try again.") from None
        except exceptions.NotFound as error:
            # Transient: a bucket that was just created is not found everywhere at once.
            raise TransientError(f"{address}: not found ({first_line(error)}). Is the stack up?") from None
        except GoogleAuthError as error:
            raise token_error(error, address) from None
        except (exceptions.GoogleAPIError, DataCorruption, requests.RequestException) as error:
            raise TransientError(f"{address}: the lake does not answer ({first_line(error)}).") from None


class _Ranges(io.RawIOBase):
    """An object, read by ranges; buffered it asks for few of them."""

    def __init__(self, lake: Lake, stored: Stored) -> None:
        self._lake, self._stored, self._position = lake, stored, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._stored.size}
        self._position = max(base[whence] + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        found = self._lake.part(self._stored, self._position, len(buffer))
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


def _stored(blob: Any) -> Stored:
    metadata = dict(blob.metadata or {})
    return Stored(blob.name, int(blob.size), int(blob.generation), metadata, blob.updated)
