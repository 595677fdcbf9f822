"""Services that exist in memory only, mounted into a `requests` session where a network would be.

Google's own clients run over them unchanged: what they send and how they read answers is theirs.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

REASONS = {
    400: "invalid", 403: "accessDenied", 404: "notFound", 409: "duplicate", 412: "conditionNotMet",
    429: "rateLimitExceeded", 500: "internalError", 503: "backendError",
}  # fmt: skip


class Killed(BaseException):
    """The process that sent a request is gone: nothing but a `finally` sees this."""


@dataclass(frozen=True)
class Request:
    """A request as a service sees it; `path` is without the host and not quoted."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass
class Answer:
    """An answer; `body` is bytes, or what becomes JSON."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] | None = None


class GoogleError(Exception):
    """An error that a Google API answers with."""

    def __init__(self, status: int, message: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason or REASONS.get(status, "")

    @property
    def answer(self) -> Answer:
        entry = {"reason": self.reason, "message": self.message}
        error = {"code": self.status, "message": self.message, "errors": [entry]}
        return Answer(self.status, {"error": error})


class Service(HTTPAdapter):
    """An HTTP service in memory.

    `requests` are those it had, as (method, path). The next ones are answered by what is in `faults`: a
    status (the request has no effect), an exception to be raised in its place, or None for a real answer.
    `after` is called with each request that had its effect: it may raise Killed.
    """

    host = "http://nowhere.test"

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, str]] = []
        self.timeouts: list[Any] = []
        self.faults: list[int | Exception | None] = []
        self.after: Callable[[Request], None] = lambda _: None

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        parts = urlsplit(request.url)
        body = request.body.read() if hasattr(request.body, "read") else request.body or b""
        seen = Request(
            request.method,
            unquote(parts.path),
            {name: values[-1] for name, values in parse_qs(parts.query).items()},
            {name.lower(): v.decode() if isinstance(v, bytes) else v for name, v in request.headers.items()},
            body.encode() if isinstance(body, str) else body,
        )
        self.requests.append((seen.method, seen.path))
        self.timeouts.append(timeout)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            fault.request = request
            raise fault
        answer = self._answered(seen) if fault is None else GoogleError(fault, "hiccup").answer
        if fault is None:
            self.after(seen)
        return self._response(request, answer)

    def _answered(self, seen: Request) -> Answer:
        try:
            return self.answer(seen)
        except GoogleError as error:
            return error.answer

    def answer(self, request: Request) -> Answer:
        """Answer one request; overridden by each service."""
        raise NotImplementedError

    def _response(self, request: requests.PreparedRequest, answer: Answer) -> requests.Response:
        headers, content = dict(answer.headers or {}), answer.body
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
            headers["Content-Type"] = "application/json"
        headers.setdefault("Content-Length", str(len(content)))
        raw = HTTPResponse(
            body=io.BytesIO(content), headers=headers, status=answer.status, preload_content=False
        )
        return self.build_response(request, raw)

    def session(self) -> AuthorizedSession:
        """A session of which every request to `host` ends here."""
        session = AuthorizedSession(AnonymousCredentials())
        session.mount(self.host, self)
        return session

    def close(self) -> None:
        """A client that is closed closes its adapters; the service goes on."""
        self.closed = True
