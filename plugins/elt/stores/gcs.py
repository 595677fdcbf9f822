"""The bucket. An object is complete or absent, whenever this process dies."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, Protocol

import google.auth.exceptions
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from elt.errors import PermanentError, TransientError
from elt.settings import Settings

# Every byte in memory is in one of these: an upload's size does not matter.
CHUNK = 3 * 2**20
# Seconds to try again within; longer outages are for whoever calls again.
RETRY = DEFAULT_RETRY.with_timeout(15)


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
    kind: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Stored:
    """An object: its metadata are ours, its generation changes with every write."""

    name: str
    size: int
    generation: int
    metadata: Mapping[str, str] = field(default_factory=dict)


class Lake:
    """The stack's bucket."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.bucket
        self._bucket = _client(settings).bucket(settings.bucket)

    def uri(self, name: str) -> str:
        """Address of an object for BigQuery."""
        return f"gs://{self._name}/{name}"

    def find(self, name: str) -> Stored | None:
        """Look an object up; None if it is not there."""
        with self._errors(name):
            blob = self._bucket.get_blob(name, retry=RETRY)
        return _stored(blob) if blob else None

    def list(self, prefix: str) -> Iterator[Stored]:
        """Go through the objects below a prefix."""
        with self._errors(prefix):
            for blob in self._bucket.list_blobs(prefix=prefix, retry=RETRY):
                yield _stored(blob)

    def write(self, name: str, content: Content, *, over: Stored | Literal["any"] | None = "any") -> Stored:
        """Upload a stream; if it raises before its end, the object stays as it was.

        `over` is what may be replaced: that very object, or (None) nothing.
        Raises TransientError if there is another.
        """
        blob = self._bucket.blob(name, chunk_size=CHUNK)
        blob.metadata = dict(content.metadata)
        expected = None if over == "any" else over.generation if over else 0
        with self._errors(name):
            blob.upload_from_file(
                content.stream,
                size=content.size,
                content_type=content.kind,
                if_generation_match=expected,
                retry=RETRY,
            )
        return _stored(blob)

    def describe(self, stored: Stored, metadata: Mapping[str, str]) -> Stored:
        """Add metadata to exactly the object that was written, not to one that has replaced it."""
        blob = self._bucket.blob(stored.name)
        blob.metadata = {**stored.metadata, **metadata}
        with self._errors(stored.name):
            blob.patch(if_generation_match=stored.generation, retry=RETRY)
        return _stored(blob)

    def fetch(self, stored: Stored) -> BinaryIO:
        """Return that very object as an open file without a name: nothing to clean up after a kill."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        with self._errors(stored.name):
            blob = self._bucket.blob(stored.name, generation=stored.generation)
            blob.download_to_file(file, retry=RETRY)
        file.seek(0)
        return file

    def remove(self, name: str) -> None:
        """Delete an object that may be gone already."""
        with self._errors(name):
            self._bucket.delete_blobs([self._bucket.blob(name)], on_error=lambda _: None, retry=RETRY)

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        address = self.uri(name)
        try:
            yield
        except (exceptions.Unauthorized, exceptions.Forbidden, google.auth.exceptions.RefreshError) as error:
            raise PermanentError(f"{address}: access denied ({_first_line(error)}).") from None
        except exceptions.PreconditionFailed:
            raise TransientError(f"{address}: replaced by someone else meanwhile. Try again.") from None
        except exceptions.NotFound as error:
            raise TransientError(f"{address}: not found ({_first_line(error)}). Is the stack up?") from None
        except (
            exceptions.GoogleAPIError,
            DataCorruption,
            requests.RequestException,
            google.auth.exceptions.GoogleAuthError,
        ) as error:
            raise TransientError(f"{address}: the lake does not answer ({_first_line(error)}).") from None


def _client(settings: Settings) -> Client:
    if settings.storage_endpoint is None:
        return Client(project=settings.project)
    options = {"api_endpoint": settings.storage_endpoint}
    return Client(
        project=settings.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=options,
    )


def _stored(blob: Any) -> Stored:
    return Stored(blob.name, int(blob.size), int(blob.generation), dict(blob.metadata or {}))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0][:200]
