"""Files in buckets of others: Google Cloud Storage, and S3 or whatever speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from elt.errors import (
    PermanentError,
    PipelineError,
    SettingError,
    SourceNotPublishedError,
    TransientError,
    first_line,
)
from elt.sources import Incoming
from elt.sources.client import HttpClient, Limits, Patience, Published
from elt.sources.files import ChangedError, Files

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

    from elt.connection_fields import ConnectionFields

# Bytes that one request to Google asks for: in memory at once, and repeated where it breaks.
_CHUNK = 4 * 2**20
# Seconds to connect within, and between two pieces of an answer; and to repeat a request within.
_TIMEOUT, _REPEAT_SECONDS = (10.0, 60.0), 15.0
# A page of a listing has 1,000 keys of up to 1,024 bytes, and as much again around each.
_PAGE_BYTES = 8 * 2**20
# What S3 answers for a login, whatever it was asked.
_LOGIN_ERRORS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken")


def _bucket_and_key(url: str) -> tuple[str, str]:
    """Both as they are: nothing in such an address is encoded."""
    bucket, _, key = url.partition("://")[2].partition("/")
    return bucket, key


class GoogleFiles(Files):
    """Objects by gs:// addresses, over Google's own client, which `google` makes when it is needed."""

    def __init__(
        self, google: Callable[[], Client], limits: Limits | None = None, patience: Patience | None = None
    ) -> None:
        super().__init__(limits, patience)
        self._google = google

    def close(self) -> None:
        """End the client's connections, if it was needed."""
        if "_client" in vars(self):
            self._client.close()

    @cached_property
    def _client(self) -> Client:
        return self._google()

    @property
    def _how(self) -> dict[str, Any]:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return {"timeout": _TIMEOUT, "retry": DEFAULT_RETRY.with_timeout(_REPEAT_SECONDS)}

    def find(self, url: str) -> Published | None:
        """Look an object up; PermanentError for a bucket that is not there."""
        bucket, key = _bucket_and_key(url)
        with self._errors(url):
            blob = self._client.bucket(bucket).get_blob(key, **self._how)
        if blob is None:
            # The client does not tell a bucket that is not there from an object that is not.
            next(self.list(url), None)
            return None
        return self._published(blob)

    def list(self, beginning: str) -> Iterator[Published]:
        """Go through one folder."""
        bucket, prefix = _bucket_and_key(beginning)
        with self._errors(beginning):
            for blob in self._client.list_blobs(bucket, prefix=prefix, delimiter="/", **self._how):
                yield self._published(blob)

    def read(self, file: Published, start: int) -> Generator[bytes, None, None]:
        """Ask for one part after the other, of that very generation."""
        from google.api_core.exceptions import NotFound

        bucket, key = _bucket_and_key(file.url)
        blob = self._client.bucket(bucket).blob(key, generation=int(file.etag or 0))
        while start < (file.size or 0):
            try:
                with self._errors(file.url, NotFound):
                    # As stored: the client would unpack an object that says it is gzip.
                    how = {"raw_download": True, "checksum": None, **self._how}
                    piece: bytes = blob.download_as_bytes(start=start, end=start + _CHUNK - 1, **how)
            except NotFound:
                raise ChangedError(file.url) from None
            yield piece
            start += len(piece)

    def _published(self, blob: Blob) -> Published:
        # Another generation for each write: Google's own ETag changes with the metadata, too.
        return Published(f"gs://{blob.bucket.name}/{blob.name}", str(blob.generation), None, int(blob.size))

    @contextmanager
    def _errors(self, url: str, *passed: type[Exception]) -> Iterator[None]:
        import requests
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError

        from elt.stores import denied, token_error

        try:
            yield
        except passed:
            raise
        except (exceptions.Unauthorized, exceptions.Forbidden) as error:
            raise denied(url, first_line(error)) from None
        except exceptions.NotFound:
            raise PermanentError(
                f"{url}: there is no bucket {_bucket_and_key(url)[0]}. Correct the address in the entry."
            ) from None
        except GoogleAuthError as error:
            raise token_error(error, url) from None
        except (exceptions.GoogleAPIError, requests.RequestException) as error:
            raise TransientError(f"{url}: the bucket does not answer ({first_line(error)}).") from None


class S3Files(Files):
    """Objects by s3:// addresses. An Airflow connection has the fields of its AWS type.

    `login` and `password` are the key and its secret (without them requests are anonymous), `extra` may have
    `region_name`, `endpoint_url` (of another service than Amazon's) and `aws_session_token`.
    """

    def __init__(
        self, found: ConnectionFields | None, limits: Limits | None = None, patience: Patience | None = None
    ) -> None:
        super().__init__(limits, patience)
        extra: Mapping[str, Any] = found.extra if found else {}
        self._region = str(extra.get("region_name") or extra.get("region") or "us-east-1")
        endpoint = str(extra.get("endpoint_url") or f"https://s3.{self._region}.amazonaws.com")
        if not endpoint.startswith(("http://", "https://")):
            raise SettingError(f"the endpoint_url {endpoint!r} of an S3 connection is not a URL.")
        self._endpoint = endpoint.rstrip("/")
        self._http = HttpClient(
            self._endpoint, auth=self._signer(found, extra), limits=limits, patience=patience
        )

    def close(self) -> None:
        """End the connections."""
        self._http.__exit__()

    def find(self, url: str) -> Published | None:
        """Ask with a HEAD request; where it says no, a listing says why."""
        try:
            found = self._http.probe(self._address(url), url)
        except PermanentError:
            self._check_hidden(url)
            raise
        if found is None:
            self._check_hidden(url, denied=True)
            return None
        return replace(found, url=url)

    def list(self, beginning: str) -> Iterator[Published]:
        """Go through one folder, a page of a thousand at a time."""
        bucket, prefix = _bucket_and_key(beginning)
        query = {"list-type": "2", "prefix": prefix, "delimiter": "/"}
        while True:
            address = f"{self._endpoint}/{quote(bucket)}?{urlencode(sorted(query.items()), quote_via=quote)}"
            page = self._page(beginning, *self._http.document(address, _PAGE_BYTES))
            for entry in page.iterfind("{*}Contents"):
                texts = {child.tag.rpartition("}")[2]: child.text or "" for child in entry}
                size = int(texts["Size"])
                yield Published(f"s3://{bucket}/{texts['Key']}", texts.get("ETag"), None, size)
            following = page.findtext("{*}NextContinuationToken")
            if not following or query.get("continuation-token") == following:
                return
            query["continuation-token"] = following

    def read(self, file: Published, start: int) -> Generator[bytes, None, None]:
        """Not used: `open` has HTTP's own way to continue a file."""
        raise NotImplementedError

    def open(self, url: str, name: str) -> AbstractContextManager[Incoming]:
        """Begin to read an object with one GET request."""
        try:
            return self._http.open(self._address(url), name, url)
        except (PermanentError, SourceNotPublishedError) as error:
            self._check_hidden(url, denied=isinstance(error, SourceNotPublishedError))
            raise

    def part(self, url: str, name: str, start: int, end: int) -> bytes | None:
        """Read a part of an object."""
        return self._http.part(self._address(url), name, start, end)

    def _address(self, url: str) -> str:
        bucket, key = _bucket_and_key(url)
        # The name in the path, not in the host: that every service knows, and certificates for it are valid.
        return f"{self._endpoint}/{quote(bucket)}/{quote(key, safe='/~')}"

    def _signer(self, found: ConnectionFields | None, extra: Mapping[str, Any]) -> Any:
        if not found or not found.login:
            named = [name for name in ("role_arn", "profile_name") if extra.get(name)]
            if named:
                raise SettingError(
                    f"an S3 connection has {named[0]}, which is not supported here. "
                    "Give it a login (the key's id) and a password (its secret)."
                )
            return None
        from requests_aws4auth import AWS4Auth

        token = {"session_token": extra["aws_session_token"]} if extra.get("aws_session_token") else {}
        return AWS4Auth(found.login, found.password, self._region, "s3", **token)

    def _check_hidden(self, url: str, *, denied: bool = False) -> None:
        """Raise why an object is not handed out, if a listing tells: HEAD has no text.

        `denied`: 403 may stand for one that is not there as well as for one that may not be read.
        """
        if any(file.url == url for file in islice(self.list(url), 1)) and denied:
            raise PermanentError(f"{url}: access denied. Allow the connection's key s3:GetObject on it.")

    def _page(self, url: str, status: int, body: bytes) -> ElementTree.Element:
        try:
            # Python's parser is expat of 2.4 or newer, which refuses entities that multiply.
            page = ElementTree.fromstring(body)  # noqa: S314
        except ElementTree.ParseError:
            page = ElementTree.Element("Error")
        if status != 200 or not page.tag.endswith("ListBucketResult"):
            raise self._meaning(url, status, page)
        return page

    def _meaning(self, url: str, status: int, error: ElementTree.Element) -> PipelineError:
        """What an answer to a listing means."""
        code = error.findtext("{*}Code") or error.findtext("Code") or f"status {status}"
        bucket, what = _bucket_and_key(url)[0], f"{url}: {self._endpoint} answers {code}"
        region = error.findtext("{*}Region") or error.findtext("Region") or ""
        if code == "NoSuchBucket":
            return PermanentError(
                f"{url}: there is no bucket {bucket} at {self._endpoint}. Correct the address in the entry, "
                "or the connection's endpoint_url."
            )
        if code in _LOGIN_ERRORS:
            return PermanentError(f"{what}. Correct login and password of the source's Airflow connection.")
        if code in ("PermanentRedirect", "AuthorizationHeaderMalformed") or status in (301, 307):
            where = f" to {region!r}" if region else ""
            return PermanentError(
                f"{what}: its region is not {self._region}. Set the connection's region_name{where}."
            )
        if status in (401, 403):
            return PermanentError(
                f"{url}: access denied ({self._endpoint} answers {code}). Allow s3:GetObject on the file and "
                "s3:ListBucket on the bucket: without that S3 hides whether a file is not published yet."
            )
        if status in (408, 429) or status >= 500 or status == 200:
            return TransientError(f"{what}. Try again.")
        return PermanentError(f"{what}.")
