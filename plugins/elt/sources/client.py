"""The publisher's site: is a file there, and its bytes, continued where a connection dropped."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import requests
import requests.adapters
import urllib3

from elt.catalogue import Dataset
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.months import Month
from elt.settings import Settings

# A bucket that does not list its objects to everybody answers 403 for one that is not there.
_ABSENT = (403, 404, 410)
_BUSY = (429, 500, 502, 503, 504)
_TIMEOUT = (10, 60)
_PIECE = 1 << 18
# Seconds before each attempt to continue; longer outages are for whoever calls again.
PAUSES = (0.2, 1.0, 3.0)
# Seconds before a request is repeated, doubled each time.
BACKOFF = 0.3
_DROPPED = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


@dataclass(frozen=True)
class Published:
    """What a source says about a file. `size` in bytes; what it does not say is None."""

    url: str
    etag: str | None
    last_modified: str | None
    size: int | None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> Self:
        """Read a response's headers."""
        size = headers.get("Content-Length")
        return cls(url, headers.get("ETag"), headers.get("Last-Modified"), int(size) if size else None)

    @property
    def validator(self) -> str | None:
        """What identifies these very bytes: a strong ETag, else the date; None if neither is given."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.last_modified


def source_url(ds: Dataset, month: Month | None, settings: Settings) -> str:
    """Address of a month's file: below the settings' source, unless the entry has a URL of its own."""
    return ds.url(month, settings.source_url or "")


def probe(ds: Dataset, month: Month | None, settings: Settings) -> Published | None:
    """Ask, with one HEAD request, for a month's file; None if it is not published.

    Raises TransientError where the source does not answer properly, PermanentError for a web page
    in the file's place.
    """
    url = source_url(ds, month, settings)
    with session() as http:
        try:
            response = http.head(url, allow_redirects=True, timeout=_TIMEOUT)
            _check_answer(ds.file_name(month), url, response)
        except SourceNotPublishedError:
            return None
        except requests.RequestException as error:
            raise _unreachable(url, error) from None
        return Published.of(url, response.headers)


def session() -> requests.Session:
    """Connections that try again a few times, within seconds, what is worth trying again."""
    http = requests.Session()
    again = urllib3.Retry(
        total=3,
        backoff_factor=BACKOFF,
        status_forcelist=_BUSY,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    for scheme in ("http://", "https://"):
        http.mount(scheme, requests.adapters.HTTPAdapter(max_retries=again))
    # Bytes are kept as published: no encoding in between.
    http.headers["Accept-Encoding"] = "identity"
    return http


def _check_answer(name: str, url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in _ABSENT:
        raise SourceNotPublishedError(f"{name}: not published ({url} answers {status})")
    if status in _BUSY or status >= 500:
        raise TransientError(f"{name}: the source answers {status} ({url})")
    if status not in (200, 206):
        raise PermanentError(f"{name}: the source answers {status} ({url})")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise PermanentError(f"{name}: an HTML page instead of the file ({url})")


def _unreachable(url: str, error: Exception) -> TransientError:
    reason = "timed out" if isinstance(error, requests.Timeout) else type(error).__name__
    return TransientError(f"{url} does not answer ({reason}). Is the source up and the address right?")


class Transfer:
    """One file on its way: an iterator of its pieces (a quarter of a MiB at most), in order, each byte once.

    Raises what `probe` raises, SourceNotPublishedError, and TransientError when it stays truncated.
    """

    def __init__(self, url: str, name: str, http: requests.Session) -> None:
        self._url, self._name, self._http = url, name, http
        self._response: requests.Response | None = self._get({})
        self.published = Published.of(url, self._response.headers)
        self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._next():
            self.received += len(piece)
            yield piece

    def _next(self) -> bytes:
        """Return the next piece, nothing at the file's end."""
        # Without a validator nobody could tell whether the rest is of the same file.
        pauses = PAUSES if self.published.validator else ()
        for pause in (*pauses, None):
            piece = self._read(_PIECE)
            if piece is not None:
                return piece
            if pause is not None:
                time.sleep(pause)
                self._continue()
        of = f" of {self.published.size:,}" if self.published.size is not None else ""
        raise TransientError(
            f"{self._name}: truncated (got {self.received:,}{of} bytes); the connection dropped "
            f"and {len(pauses)} attempts to continue it failed"
        )

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

    def _skip(self, response: requests.Response, size: int) -> None:
        """Pass over what is here already, where a source sends everything again."""
        if Published.of(self._url, response.headers) != self.published:
            raise TransientError(f"{self._name}: changed at the source while it was read. Try again.")
        while size and (piece := self._read(min(size, _PIECE))):
            size -= len(piece)
        if size:
            self._hang_up()

    def _get(self, headers: Mapping[str, str]) -> requests.Response:
        try:
            response = self._http.get(self._url, headers=dict(headers), stream=True, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise _unreachable(self._url, error) from None
        _check_answer(self._name, self._url, response)
        return response
