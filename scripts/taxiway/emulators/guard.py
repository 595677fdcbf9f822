"""Whom an emulator answers: the clients of its own environment, and no web page.

Every local user, and every page in a browser, can reach a port of the loopback interface. So each service
checks who asks before it looks at what is asked; the warehouse's gRPC server checks the same token.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from taxiway.emulators.answers import HEALTH, Refused, error_answer

Scope = MutableMapping[str, Any]
ASGI = Callable[[Scope, Any, Any], Awaitable[None]]
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# The types that a browser sends across sites without asking first.
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
READING = ("GET", "HEAD", "OPTIONS")
logger = logging.getLogger("guard")


class Guard:
    """ASGI middleware that refuses whoever is none of this environment's clients, with Google's error body.

    `hosts` are host names that clients use besides loopback's. `token` is what they carry as their bearer
    token; empty asks for none. `open_paths` take no token and any body: what is behind them changes nothing.
    """

    def __init__(
        self, app: ASGI, hosts: Iterable[str] = (), token: str = "", open_paths: Iterable[str] = ()
    ) -> None:
        self._app, self._token = app, token
        self._hosts = {*LOOPBACK, *(host.lower() for host in hosts)}
        self._open = {HEALTH, *open_paths}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it with 401, 403 or 415."""
        if scope["type"] != "http":
            raise RuntimeError(f"This service has no {scope['type']}.")
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        logger.warning("refused: %s %s: %s", scope["method"], scope["path"], refusal)
        await error_answer(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refused | None:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value.decode("latin-1"))
        # A page that rebinds its own name to 127.0.0.1 passes for the same origin, but still sends its name.
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or _without_port(hosts[0]) not in self._hosts:
            return Refused(403, f"This service does not answer to the host name {', '.join(hosts)!r}.")
        # Browsers name the page that asks in one of these; none of Google's clients sends either.
        sites = headers.get(b"sec-fetch-site", [])
        if b"origin" in headers or any(site not in ("none", "same-origin") for site in sites):
            return Refused(403, "This service answers no web page.")
        if scope["path"] in self._open:
            return None
        if self._token and not carries(self._token, headers.get(b"authorization", [])):
            message = "The request does not carry this environment's token as its bearer token."
            return Refused(401, message, headers={"WWW-Authenticate": "Bearer"})
        kind = headers.get(b"content-type", [""])[0].partition(";")[0].strip().lower()
        # What is uploaded may be text: its type is that of the file.
        if scope["method"] not in READING and kind in FORMS and not scope["path"].startswith("/upload/"):
            return Refused(415, f"A change is sent as application/json, not as {kind}.")
        return None


def carries(token: str, authorization: Sequence[str]) -> bool:
    """Whether the values of a request's `Authorization` are one bearer token, this one."""
    if len(authorization) != 1:
        return False
    scheme, _, given = authorization[0].partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _without_port(host: str) -> str:
    """The name in a `Host`; the port may be any: Compose publishes another than the service listens on."""
    name, colon, port = host.strip().lower().rpartition(":")
    return name if colon and port.isdigit() else host.strip().lower()
