"""Whom an emulator serves: the clients of its own environment, and no web page.

Every local user and every page in a browser can reach a loopback port. Each service therefore checks who asks
before it reads the request; the warehouse's gRPC server checks the same token.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers

from taxiway.emulators.answers import HEALTH, HttpError, error_answer

Scope = MutableMapping[str, Any]
ASGI = Callable[[Scope, Any, Any], Awaitable[None]]
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# Content types that a browser sends to other sites without a preflight request.
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
READING = ("GET", "HEAD", "OPTIONS")
logger = logging.getLogger("guard")


class Guard:
    """ASGI middleware that rejects clients of other environments and web pages, with Google's error body.

    `hosts`: host names that clients use besides loopback's. `tokens`: the bearer tokens of which they must
    carry one; none disables the check. `open_paths`: paths without side effects that need no token and take
    any content type.
    """

    def __init__(
        self, app: ASGI, hosts: Iterable[str] = (), tokens: Sequence[str] = (), open_paths: Iterable[str] = ()
    ) -> None:
        self._app, self._tokens = app, tokens
        self._hosts = {*LOOPBACK, *(host.lower() for host in hosts)}
        self._open = {HEALTH, *open_paths}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass the request on, or answer it with 401, 403 or 415."""
        error = self._check(scope)
        if error is None:
            await self._app(scope, receive, send)
            return
        logger.warning("rejected: %s %s: %s", scope["method"], scope["path"], error)
        await error_answer(error)(scope, receive, send)

    def _check(self, scope: Scope) -> HttpError | None:
        headers = Headers(scope=scope)
        # DNS rebinding makes a page same-origin, but its requests still carry the page's own host name. Ports
        # are not compared: Compose publishes other ones than the services listen on.
        hosts = headers.getlist("host")
        names = {re.sub(r":\d+$", "", host.strip().lower(), flags=re.ASCII) for host in hosts}
        if len(hosts) != 1 or not names <= self._hosts:
            return HttpError(403, f"This service does not answer to the host name {', '.join(hosts)!r}.")
        # Browsers send one of these with requests from a page; Google's clients send neither.
        sites = headers.getlist("sec-fetch-site")
        if "origin" in headers or any(site not in ("none", "same-origin") for site in sites):
            return HttpError(403, "This service does not answer web pages.")
        if scope["path"] in self._open:
            return None
        shown = headers.getlist("authorization")
        if self._tokens and not any(carries(token, shown) for token in self._tokens):
            message = "The request lacks this environment's bearer token."
            return HttpError(401, message, headers={"WWW-Authenticate": "Bearer"})
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        # The content type of an upload is that of the uploaded file, and may be text.
        if scope["method"] not in READING and kind in FORMS and not scope["path"].startswith("/upload/"):
            return HttpError(415, f"Send changes as application/json, not as {kind}.")
        return None


def carries(token: str, authorization: Sequence[str]) -> bool:
    """Whether the values of an `Authorization` header are exactly this bearer token."""
    if len(authorization) != 1:
        return False
    scheme, _, given = authorization[0].partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
