"""A publisher's files over HTTP: whether one is there, and its bytes, continued where a connection broke.

A source is not trusted: it may be slow without end, send without end, or lead to hosts of this network.
"""

import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from urllib.parse import unquote, urljoin, urlsplit

import requests
import requests.adapters
import requests.auth
import urllib3
import urllib3.connection
import urllib3.connectionpool

from elt.catalogue import Dataset
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.periods import Period

# A bucket that does not list its objects to everybody answers 403 for one that is not there.
_ABSENT = (403, 404, 410)
_BUSY = (408, 429, 500, 502, 503, 504)
# Seconds to connect within, and between two pieces of an answer.
_TIMEOUT = (10, 60)
_PIECE = 1 << 18
_DROPPED = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)", re.ASCII)

Login = tuple[str, str]
# A login, or what signs each request.
Auth = Login | requests.auth.AuthBase


class LoginError(PermanentError):
    """The source does not accept the login, or the token has expired."""


@dataclass(frozen=True)
class Patience:
    """Seconds: longer outages, and slower sources, are for whoever calls again.

    `pauses` are before each attempt to continue a broken transfer, `backoff` is before a request is
    repeated, and doubled each time. `headers` is for the whole head of an answer, `piece` for a quarter of
    a MiB: 4 KiB/s is the minimum rate. (A time-out of the socket is for each byte, and starts again.)
    `retry_after` is the longest pause that a source may ask for: it may ask for hours, which a task's retries
    cover better than a held worker.
    """

    pauses: tuple[float, ...] = (0.2, 1.0, 3.0)
    backoff: float = 0.3
    headers: float = 60.0
    piece: float = 64.0
    retry_after: float = 60.0


PATIENCE = Patience()


@dataclass(frozen=True)
class Limits:
    """What one file may take: `size` in bytes and `seconds` in all. See `Settings` for how to set them."""

    size: int = 8 * 2**30
    seconds: float = 7200.0


@dataclass(frozen=True)
class Published:
    """What a source states about a file (`size` in bytes, `url` without password); None where it does not."""

    url: str
    etag: str | None
    last_modified: str | None
    size: int | None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> Self:
        """Read a response's headers; PermanentError for a size that is none, since nobody could check it."""
        size = headers.get("Content-Length")
        if size is not None and not re.fullmatch(r"\d{1,18}", size, re.ASCII):
            raise PermanentError(f"{url}: the source's Content-Length {size[:40]!r} is no size.")
        # They become metadata of the object, of which the lake takes 8 KiB in all.
        etag, date = (
            text if text and len(text) <= 200 and text.isprintable() else None
            for text in (headers.get("ETag"), headers.get("Last-Modified"))
        )
        return cls(url, etag, date, None if size is None else int(size))

    @property
    def validator(self) -> str | None:
        """What identifies these very bytes: a strong ETag, else the date; None if neither is given."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.last_modified


class Allowance:
    """What one file has left of its `Limits`, from now on; messages call it `name`."""

    def __init__(self, name: str, limits: Limits, until: float | None = None) -> None:
        self._name, self._limits = name, limits
        self._until = until or time.monotonic() + limits.seconds

    @property
    def seconds(self) -> float:
        """What is left of the time."""
        return self._until - time.monotonic()

    def check(self, size: int) -> None:
        """Raise PermanentError if a file of so many bytes is too large, TransientError after the time."""
        if size > self._limits.size:
            raise PermanentError(
                f"{self._name}: {size:,} bytes or more, and at most {self._limits.size:,} are taken. "
                "If the file is right, set TAXI_MAX_FILE_BYTES to more."
            )
        if self.seconds < 0:
            raise TransientError(
                f"{self._name}: {size:,} bytes came in {self._limits.seconds:,.0f} s, and no more time is "
                "given. If the source is slow, set TAXI_DOWNLOAD_SECONDS to more."
            )


class HttpClient:
    """Requests to one source, over one session; leaving it as a context manager closes that.

    `auth` (user and password, or what signs a request) and `headers` are the connection's secrets. They go to
    the host of `base_url` only: not to one that it redirects to, nor to a file's own address elsewhere. No
    address, message or log has them. `absent` are the statuses that mean that there
    is no such file.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None = None,
        headers: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        patience: Patience | None = None,
        absent: Collection[int] = _ABSENT,
    ) -> None:
        base, login = _without_user(base_url)
        self.base_url = base.rstrip("/")
        self._auth: Auth | None = auth or login
        self._headers = {name: str(value) for name, value in (headers or {}).items()}
        self.limits, self.patience = limits or Limits(), patience or PATIENCE
        self._absent = absent
        self._http = _Session(self.patience, self._headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def probe(self, url: str, name: str) -> Published | None:
        """Ask with one HEAD request for a file, which messages call `name`; None if it is not published.

        Raises TransientError where the source does not answer properly, PermanentError for a web page
        in the file's place.
        """
        url, login = _without_user(url)
        try:
            return Published.of(url, self._request("HEAD", url, name, login, {}).headers)
        except SourceNotPublishedError:
            return None

    def open(self, url: str, name: str, shown: str = "", until: float | None = None) -> "Transfer":
        """Begin to read a file with one GET request; `until` (a monotonic clock's) ends it earlier.

        `shown` is its address for people, if that is another.

        Raises what `probe` raises, and SourceNotPublishedError.
        """
        url, login = _without_user(url)

        def get(headers: Mapping[str, str]) -> requests.Response:
            return self._request("GET", url, name, login, headers)

        return Transfer(shown or url, name, get, self.limits, self.patience, until)

    def document(self, url: str, most: int) -> tuple[int, bytes]:
        """Ask for an answer of `most` bytes, whatever its status, which is returned too."""
        with self._send("GET", url, None, {}) as response:
            try:
                with _ended_after(self.patience.headers, response.raw.shutdown):
                    body: bytes = response.raw.read(most + 1, decode_content=False)
            except _DROPPED as error:
                raise TransientError(f"{url} does not answer ({type(error).__name__}). Try again.") from None
        whole = response.headers.get("Content-Length", str(len(body))) == str(len(body))
        if len(body) > most or not whole:
            raise TransientError(f"{url} answers with {len(body):,} bytes, too many or too few. Try again.")
        return response.status_code, body

    def part(self, url: str, name: str, start: int, end: int) -> bytes | None:
        """Read a part of a file, a few MiB; None where the source sends no parts.

        Raises what `open` raises, and TransientError for a part that does not arrive.
        """
        url, login = _without_user(url)
        headers = {"Range": f"bytes={start}-{end - 1}"}
        with self._request("GET", url, name, login, headers) as response:
            given = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status_code != 206 or given is None or int(given[1]) != start:
                return None
            try:
                with _ended_after(self.patience.piece, response.raw.shutdown):
                    found: bytes = response.raw.read(end - start, decode_content=False)
            except _DROPPED:
                found = b""
        if len(found) != end - start:
            raise TransientError(f"{name}: a part of it did not arrive whole ({url}). Try again.")
        return found

    def _request(
        self, method: str, url: str, name: str, login: Login | None, headers: Mapping[str, str]
    ) -> requests.Response:
        response = self._send(method, url, login, headers)
        try:
            _check_answer(response, name, url, absent=self._absent, ranged="Range" in headers)
        except BaseException:
            response.close()
            raise
        return response

    def _send(
        self, method: str, url: str, login: Login | None, headers: Mapping[str, str]
    ) -> requests.Response:
        own_host = _origin(url) == _origin(self.base_url)
        try:
            return self._http.request(
                method,
                url,
                # Bytes are kept as published: no encoding in between, whatever the connection asks for.
                headers={**(self._headers if own_host else {}), "Accept-Encoding": "identity", **headers},
                auth=(self._auth if own_host else None) or login,
                # A HEAD's answer has to be read, empty as it is, to leave its connection to the next.
                stream=method == "GET",
                timeout=_TIMEOUT,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            # The error is named by its class: its text may hold an address with a password.
            # Redirects in a circle are the source's mistake, as an address that is none is ours.
            if isinstance(error, requests.TooManyRedirects):
                raise PermanentError(f"{url} cannot be asked for ({type(error).__name__}).") from None
            if isinstance(error, ValueError):
                raise PermanentError(
                    f"{url} is not an address to ask ({type(error).__name__}). "
                    "Write it like https://example.com/files."
                ) from None
            reason = "timed out" if isinstance(error, requests.Timeout) else type(error).__name__
            raise TransientError(
                f"{url} does not answer ({reason}). Is the source up and the address right?"
            ) from None


class HttpSource:
    """Where the files of one dataset are published: below `base_url`, else below its entry's.

    The other arguments are those of `HttpClient`; leave it as a context manager, too.
    """

    def __init__(self, dataset: Dataset, base_url: str = "", **connection: Any) -> None:
        self._dataset = dataset
        default = getattr(dataset.source, "base_url", "")
        self._client = HttpClient(base_url or default, **connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()

    @property
    def base_url(self) -> str:
        """The address that the files are below, without user and password; of an entry's own URL its host."""
        if "://" not in self._dataset.path:
            return self._client.base_url
        return "://".join(_origin(_without_user(self._dataset.path)[0]))

    def probe(self, period: Period | None) -> Published | None:
        """Ask for a period's file, as `HttpClient.probe` does."""
        return self._client.probe(*self._file(period))

    def open(self, period: Period | None) -> "Transfer":
        """Begin to read a period's file, as `HttpClient.open` does."""
        return self._client.open(*self._file(period))

    def _file(self, period: Period | None) -> tuple[str, str]:
        return self._dataset.url(period, self._client.base_url), self._dataset.file_name(period)


class Transfer:
    """One file on its way: an iterator of its pieces (a quarter of a MiB at most), in order, each byte once.

    Raises what `HttpClient.open` raises, and TransientError when the file stays truncated.
    """

    def __init__(
        self,
        url: str,
        name: str,
        get: Callable[[Mapping[str, str]], requests.Response],
        limits: Limits,
        patience: Patience,
        until: float | None = None,
    ) -> None:
        self._name, self._get, self._patience = name, get, patience
        self._allowance = Allowance(name, limits, until)
        self._response: requests.Response | None = get({})
        self._watch: _Watch | None = None
        self.received, self.headers = 0, self._response.headers
        try:
            self.published = Published.of(url, self._response.headers)
            self._allowance.check(self.published.size or 0)
        except BaseException:
            self._hang_up()
            raise
        # Without a validator nobody could tell whether the rest is of the same file.
        self._pauses = patience.pauses if self.published.validator else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def __iter__(self) -> Iterator[bytes]:
        pauses = iter(self._pauses)
        while (piece := self._read(_PIECE)) != b"":
            if piece is None:
                self._continue(next(pauses, None))
                continue
            self.received += len(piece)
            self._allowance.check(self.received)
            if len(piece) == _PIECE:
                # Only a whole piece is progress: a source that sends a byte per connection is given up.
                pauses = iter(self._pauses)
            yield piece

    def _continue(self, pause: float | None) -> None:
        """Ask for the rest, if it is still the same file; None ends the attempts."""
        # A connection that was ended because the time is over is no broken one.
        self._allowance.check(self.received)
        if pause is None:
            of = f" of {self.published.size:,}" if self.published.size is not None else ""
            why = f"{len(self._pauses)} attempts to continue it failed"
            raise TransientError(
                f"{self._name}: truncated (got {self.received:,}{of} bytes); the connection dropped and "
                f"{why if self._pauses else 'the source gives neither an ETag nor a date to continue it by'}"
            )
        time.sleep(pause)
        rest = {"Range": f"bytes={self.received}-", "If-Range": str(self.published.validator)}
        try:
            self._response = self._get(rest)
        except TransientError:
            return
        if self._response.status_code == 200:
            self._skip(self._response, self.received)
        else:
            self._check_rest(self._response)

    def _read(self, size: int) -> bytes | None:
        """Return up to `size` bytes, nothing at the file's end, None where the connection broke."""
        if self._response is None:
            return None
        raw = self._response.raw
        left = max(0.01, min(self._patience.piece, self._allowance.seconds))
        try:
            self._watch = self._watch or _Watch(raw.shutdown)
            with self._watch.within(left):
                piece: bytes = raw.read(size, decode_content=False)
        except _DROPPED:
            piece = b""
        else:
            # Where the source gives no size, an end that was made here looks like the file's.
            if not self._watch.ended and (piece or self.published.size in (None, self.received)):
                return piece
        self._hang_up()
        return None

    def _hang_up(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._response is not None:
            self._response.close()
            self._response = None

    def _skip(self, response: requests.Response, size: int) -> None:
        """Pass over what is here already, where a source sends everything again."""
        if Published.of(self.published.url, response.headers) != self.published:
            raise self._changed()
        while size and (piece := self._read(min(size, _PIECE))):
            size -= len(piece)
        if size:
            self._hang_up()

    def _check_rest(self, response: requests.Response) -> None:
        """Compare a part with the one requested: a cache may send another one, or one of another file."""
        given = response.headers.get("Content-Range", "")
        part = _CONTENT_RANGE.fullmatch(given)
        if part is None or int(part[1]) != self.received:
            raise TransientError(
                f"{self._name}: bytes from {self.received:,} on were requested, and the source sent "
                f"{given or 'a part without Content-Range'}. Try again."
            )
        of_same_size = part[2] == "*" or self.published.size in (None, int(part[2]))
        if not of_same_size or response.headers.get("ETag", self.published.etag) != self.published.etag:
            raise self._changed()

    def _changed(self) -> TransientError:
        return TransientError(f"{self._name}: changed at the source while it was read. Try again.")


def _check_answer(
    response: requests.Response, name: str, url: str, *, absent: Collection[int], ranged: bool
) -> None:
    status = response.status_code
    if status in absent:
        raise SourceNotPublishedError(f"{name}: not published ({url} answers {status})")
    # 416: the file has become shorter while it was read.
    if status in _BUSY or status >= 500 or status == 416:
        raise TransientError(f"{name}: the source answers {status} ({url})")
    if status == 401:
        raise LoginError(
            f"{name}: the source wants another login ({url}). Set it in the Airflow connection of the source."
        )
    if status != 200 and not (ranged and status == 206):
        raise PermanentError(f"{name}: the source answers {status} ({url})")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise PermanentError(f"{name}: an HTML page instead of the file ({url})")


class _Watch:
    """Calls `end` once one of many short works takes too long: a timer for each costs more than the work."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end, self._changed = end, threading.Condition()
        self._until: float | None = None
        self._idle = self._closed = False
        self.ended = False
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What is done inside has so long."""
        with self._changed:
            self._until = time.monotonic() + seconds
            if self._idle:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._until = None

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                left = None if self._until is None else self._until - time.monotonic()
                if left is not None and left <= 0:
                    self.ended = True
                    # The connection may have gone by itself in this very moment.
                    with suppress(OSError, ValueError, RuntimeError):
                        self._end()
                    return
                # Of a work that has ended meanwhile it learns when that one's time would have been over.
                self._idle = left is None
                self._changed.wait(left)


@contextmanager
def _ended_after(seconds: float, end: Callable[[], object]) -> Iterator[_Watch]:
    """Call `end` if what is done inside takes longer; the watch knows it then."""
    with closing(_Watch(end)) as watch, watch.within(seconds):
        yield watch


class _Retry(urllib3.Retry):
    """Waits as long as a busy source asks it to, in Retry-After, unless that is too long."""

    longest = 0.0

    def get_retry_after(self, response: Any) -> float | None:
        """Called by urllib3: None is its own, growing pause."""
        try:
            asked = super().get_retry_after(response)
        except urllib3.exceptions.InvalidHeader:
            return None
        return asked if asked is not None and asked <= self.longest else None

    def new(self, **changed: Any) -> Self:
        """Called by urllib3 for each attempt."""
        again = super().new(**changed)
        again.longest = self.longest
        return again


class _Session(requests.Session):
    """Connections that repeat, within seconds, what is worth it, and keep secrets from other hosts."""

    def __init__(self, patience: Patience, secrets: Mapping[str, str]) -> None:
        super().__init__()
        self._secrets = secrets
        again = _Retry(
            total=3, backoff_factor=patience.backoff, status_forcelist=_BUSY, raise_on_status=False
        )
        again.longest = patience.retry_after
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter(max_retries=again)
            adapter.poolmanager.pool_classes_by_scheme = _pools(patience.headers)
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Called by requests: an answer may lead to its own host, or by https to a public one; no further.

        A source could otherwise make a worker ask the services of its network, the metadata server above all.
        """
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        here, there = urlsplit(resp.url), urlsplit(urljoin(resp.url, target))
        upgraded = there.scheme == "https" and there.hostname == here.hostname and there.port is None
        if (
            _origin(here.geturl()) == _origin(there.geturl())
            or upgraded
            or (there.scheme == "https" and _is_public(there.hostname or ""))
        ):
            return str(target)
        raise PermanentError(
            f"{here.scheme}://{here.hostname} redirects to {there.scheme}://{there.hostname}, neither "
            "itself nor a public https address. Set the connection's host to where the files are."
        )

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Called by requests for each redirect: it drops the login for another host, but no other header."""
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        urls = response.request.url, prepared_request.url
        if self.should_strip_auth(*urls):  # type: ignore[no-untyped-call]
            for name in self._secrets:
                prepared_request.headers.pop(name, None)


def _pools(seconds: float) -> dict[str, type[urllib3.connectionpool.HTTPConnectionPool]]:
    """Connection pools whose answers have to begin, headers and all, within so many seconds."""

    class Limited:
        sock: socket.socket

        def getresponse(self) -> urllib3.HTTPResponse:
            end = partial(socket.socket.shutdown, self.sock, socket.SHUT_RDWR)
            with _ended_after(seconds, end) as watch:
                response: urllib3.HTTPResponse = super().getresponse()  # type: ignore[misc]
            if watch.ended:
                # A head that was cut off looks like one that has ended.
                raise TimeoutError("the head of the answer has not ended")
            return response

    class Http(Limited, urllib3.connection.HTTPConnection):  # type: ignore[misc]
        pass

    class Https(Limited, urllib3.connection.HTTPSConnection):  # type: ignore[misc]
        pass

    class HttpPool(urllib3.connectionpool.HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(urllib3.connectionpool.HTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}


def _is_public(host: str) -> bool:
    """Whether a host is one of the internet, by all of its addresses.

    A name that answers otherwise a moment later gains nothing: the host would have to have its certificate.
    """
    try:
        found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except OSError:
        # Unknown here: it cannot be asked from here either, other than through a proxy, which decides then.
        return True
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found)


def _without_user(url: str) -> tuple[str, Login | None]:
    """A URL without user and password, and these."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    return parts._replace(netloc=host).geturl(), (unquote(name), unquote(password)) if at else None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
