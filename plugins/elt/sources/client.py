"""A publisher's files over HTTP: whether one is there, and its bytes, continued where a connection broke."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import requests
import requests.adapters
import urllib3

from elt.catalogue import Dataset
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.months import Month

# A bucket that does not list its objects to everybody answers 403 for one that is not there.
_ABSENT = (403, 404, 410)
_BUSY = (429, 500, 502, 503, 504)
# The file has become shorter while it was read.
_OUT_OF_RANGE = 416
# Seconds to connect within, and between two pieces of an answer.
_TIMEOUT = (10, 60)
_PIECE = 1 << 18
_DROPPED = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)", re.ASCII)

Login = tuple[str, str]


@dataclass(frozen=True)
class Patience:
    """Seconds to wait before trying again; longer outages are for whoever calls again.

    `pauses` are before each attempt to continue a broken transfer, `backoff` is before a request is
    repeated, and doubled each time.
    """

    pauses: tuple[float, ...] = (0.2, 1.0, 3.0)
    backoff: float = 0.3


PATIENCE = Patience()


@dataclass(frozen=True)
class Published:
    """What a source states about a file (`size` in bytes, `url` without password); None where it does not."""

    url: str
    etag: str | None
    last_modified: str | None
    size: int | None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> Self:
        """Read a response's headers."""
        size = headers.get("Content-Length", "")
        return cls(
            url, headers.get("ETag"), headers.get("Last-Modified"), int(size) if size.isdecimal() else None
        )

    @property
    def validator(self) -> str | None:
        """What identifies these very bytes: a strong ETag, else the date; None if neither is given."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.last_modified


class HttpSource:
    """Where the files of one dataset are published: below `base_url`, else below its entry's.

    `auth` (user, password) and `headers` are the connection's secrets. They go to the host of `base_url`
    only: not to one that it redirects to, nor to an entry's own URL elsewhere. No address, message or log
    has them. All requests share one session, which leaving the source as a context manager closes.
    """

    def __init__(
        self,
        dataset: Dataset,
        base_url: str = "",
        *,
        auth: Login | None = None,
        headers: Mapping[str, Any] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._dataset, self._patience = dataset, patience or PATIENCE
        # It may hold a user and a password, as URLs may.
        self._base = base_url or (dataset.source.base_url if dataset.source else "")
        self._auth = auth
        self._headers = {name: str(value) for name, value in (headers or {}).items()}
        self._http = _Session(self._patience.backoff, self._headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def base_url(self) -> str:
        """The address that the files are below, without user and password; of an entry's own URL its host."""
        own = "://" in self._dataset.path
        url, _ = _without_user(self._dataset.path if own else self._base)
        return "://".join(_origin(url)) if own else url.rstrip("/")

    def probe(self, month: Month | None) -> Published | None:
        """Ask with one HEAD request for a month's file; None if it is not published.

        Raises TransientError where the source does not answer properly, PermanentError for a web page
        in the file's place.
        """
        try:
            response = self._request("HEAD", month, {})
        except SourceNotPublishedError:
            return None
        return Published.of(self._address(month)[0], response.headers)

    def open(self, month: Month | None) -> "Transfer":
        """Begin to read a month's file with one GET request.

        Raises what `probe` raises, and SourceNotPublishedError.
        """

        def get(headers: Mapping[str, str]) -> requests.Response:
            return self._request("GET", month, headers)

        address, name = self._address(month)[0], self._dataset.file_name(month)
        return Transfer(address, name, get, self._patience.pauses)

    def _address(self, month: Month | None) -> tuple[str, Login | None]:
        return _without_user(self._dataset.url(month, self._base))

    def _request(self, method: str, month: Month | None, headers: Mapping[str, str]) -> requests.Response:
        url, login = self._address(month)
        own_host = _origin(url) == _origin(_without_user(self._base)[0])
        try:
            response = self._http.request(
                method,
                url,
                # Bytes are kept as published: no encoding in between, whatever the connection asks for.
                headers={**(self._headers if own_host else {}), "Accept-Encoding": "identity", **headers},
                auth=(own_host and self._auth) or login,
                stream=method == "GET",
                timeout=_TIMEOUT,
            )
        except requests.RequestException as error:
            # The error is named by its class: its text may hold an address with a password.
            if isinstance(error, ValueError):
                raise PermanentError(f"{url} cannot be asked for ({type(error).__name__}).") from None
            reason = "timed out" if isinstance(error, requests.Timeout) else type(error).__name__
            raise TransientError(
                f"{url} does not answer ({reason}). Is the source up and the address right?"
            ) from None
        try:
            self._check(response, month, url, ranged="Range" in headers)
        except BaseException:
            response.close()
            raise
        return response

    def _check(self, response: requests.Response, month: Month | None, url: str, *, ranged: bool) -> None:
        status, name = response.status_code, self._dataset.file_name(month)
        if status in _ABSENT:
            raise SourceNotPublishedError(f"{name}: not published ({url} answers {status})")
        if status in _BUSY or status >= 500 or status == _OUT_OF_RANGE:
            raise TransientError(f"{name}: the source answers {status} ({url})")
        if status == 401:
            source = self._dataset.source
            where = f"Airflow connection {source.connection}" if source else "a connection its entry names"
            raise PermanentError(f"{name}: the source wants another login ({url}). Set it in {where}.")
        if status != 200 and not (ranged and status == 206):
            raise PermanentError(f"{name}: the source answers {status} ({url})")
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise PermanentError(f"{name}: an HTML page instead of the file ({url})")


class Transfer:
    """One file on its way: an iterator of its pieces (a quarter of a MiB at most), in order, each byte once.

    Raises what `HttpSource.open` raises, and TransientError when the file stays truncated.
    """

    def __init__(
        self,
        url: str,
        name: str,
        get: Callable[[Mapping[str, str]], requests.Response],
        pauses: tuple[float, ...],
    ) -> None:
        self._name, self._get = name, get
        self._response: requests.Response | None = get({})
        self.published = Published.of(url, self._response.headers)
        # Without a validator nobody could tell whether the rest is of the same file.
        self._pauses = pauses if self.published.validator else ()
        self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def __iter__(self) -> Iterator[bytes]:
        pauses = iter(self._pauses)
        while (piece := self._read(_PIECE)) != b"":
            if piece is None:
                self._resume(next(pauses, None))
                continue
            self.received += len(piece)
            if len(piece) == _PIECE:
                # Only a whole piece is progress: a source that sends a byte per connection is given up.
                pauses = iter(self._pauses)
            yield piece

    def _resume(self, pause: float | None) -> None:
        if pause is None:
            of = f" of {self.published.size:,}" if self.published.size is not None else ""
            why = f"{len(self._pauses)} attempts to continue it failed"
            raise TransientError(
                f"{self._name}: truncated (got {self.received:,}{of} bytes); the connection dropped and "
                f"{why if self._pauses else 'the source gives neither an ETag nor a date to continue it by'}"
            )
        time.sleep(pause)
        self._continue()

    def _read(self, size: int) -> bytes | None:
        """Return up to `size` bytes, nothing at the file's end, None where the connection broke."""
        if self._response is None:
            return None
        try:
            piece: bytes = self._response.raw.read(size, decode_content=False)
        except _DROPPED:
            piece = b""
        else:
            if piece or self.published.size in (None, self.received):
                return piece
        self._hang_up()
        return None

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _continue(self) -> None:
        """Ask for the rest, if it is still the same file."""
        rest = {"Range": f"bytes={self.received}-", "If-Range": str(self.published.validator)}
        try:
            self._response = self._get(rest)
        except TransientError:
            return
        if self._response.status_code == 200:
            self._skip(self._response, self.received)
        else:
            self._check_rest(self._response)

    def _skip(self, response: requests.Response, size: int) -> None:
        """Pass over what is here already, where a source sends everything again."""
        if Published.of(self.published.url, response.headers) != self.published:
            raise self._changed()
        while size and (piece := self._read(min(size, _PIECE))):
            size -= len(piece)
        if size:
            self._hang_up()

    def _check_rest(self, response: requests.Response) -> None:
        """Compare a part with what was asked for: a cache may answer with another one, or of another file."""
        given = response.headers.get("Content-Range", "")
        part = _CONTENT_RANGE.fullmatch(given)
        if part is None or int(part[1]) != self.received:
            raise TransientError(
                f"{self._name}: the source was asked for the bytes from {self.received:,} on, and sent "
                f"{given or 'a part without Content-Range'}. Try again."
            )
        of_same_size = part[2] == "*" or self.published.size in (None, int(part[2]))
        if not of_same_size or response.headers.get("ETag", self.published.etag) != self.published.etag:
            raise self._changed()

    def _changed(self) -> TransientError:
        return TransientError(f"{self._name}: changed at the source while it was read. Try again.")


class _Session(requests.Session):
    """Connections that repeat, within seconds, what is worth it, and keep secrets from other hosts."""

    def __init__(self, backoff: float, secrets: Mapping[str, str]) -> None:
        super().__init__()
        self._secrets = secrets
        again = urllib3.Retry(
            total=3,
            backoff_factor=backoff,
            status_forcelist=_BUSY,
            raise_on_status=False,
            # A source may ask for hours, which a task's retries cover better than a held worker.
            respect_retry_after_header=False,
        )
        for scheme in ("http://", "https://"):
            self.mount(scheme, requests.adapters.HTTPAdapter(max_retries=again))

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Called by requests for each redirect: it drops the login for another host, but no other header."""
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        urls = response.request.url, prepared_request.url
        if self.should_strip_auth(*urls):  # type: ignore[no-untyped-call]
            for name in self._secrets:
                prepared_request.headers.pop(name, None)


def _without_user(url: str) -> tuple[str, Login | None]:
    """A URL without user and password, and these."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    return parts._replace(netloc=host).geturl(), (unquote(name), unquote(password)) if at else None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
