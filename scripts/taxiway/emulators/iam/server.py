"""HTTP for the control plane."""

import functools
import json
import logging
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from taxiway.emulators.iam import accounts, keys, projects, services
from taxiway.emulators.iam.api import ROUTES, Call, Handler, Json, Refused, State
from taxiway.emulators.serving import HttpHandler, HttpServer, google_error

APIS = (accounts, keys, projects, services)  # importing one registers its routes
logger = logging.getLogger("control-plane")


class Connection(HttpHandler):
    """One connection; calls are answered one at a time, each from the state the one before left."""

    def __init__(self, state: State, lock: threading.Lock, *args: Any) -> None:
        self._state, self._lock = state, lock
        super().__init__(*args)

    def answer(self) -> None:
        """Answer one request."""
        content = self.read_body()
        try:
            with self._lock:
                code, body = 200, self._called(content)
        except Refused as refused:
            code, body = refused.code, refused.body
        except Exception as error:
            logger.exception("%s %s failed", self.command, self.path)
            with self._lock:
                self._state.reload()
            code, body = 500, google_error(500, str(error))
        payload = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 (the base class names them)

    def _called(self, content: bytes) -> Json:
        url = urlsplit(self.path)
        if url.path == "/healthz":
            return {"status": "ok", "service": "control-plane"}
        handler, parameters = self._found(unquote(url.path).replace("//", "/"))
        base = f"http://{self.headers.get('Host')}"
        return handler(self._state, Call(parameters, dict(parse_qsl(url.query)), _parsed(content), base))

    def _found(self, path: str) -> tuple[Handler, dict[str, str]]:
        for method, pattern, handler in ROUTES:
            match = pattern.fullmatch(path) if method == self.command else None
            if match:
                return handler, match.groupdict()
        message = f"Not part of the local control plane: {self.command} {path}"
        logger.error("%s", message)
        raise Refused(501, message)


def _parsed(content: bytes) -> Json:
    """Return the JSON body, or nothing where it is a form (a token's request) or empty."""
    if content[:1] != b"{":
        return {}
    try:
        body = json.loads(content)
    except ValueError as error:
        raise Refused(400, f"Invalid JSON payload received: {error}", "badRequest") from error
    return body if isinstance(body, dict) else {}


def create_server(host: str, port: int, data: Path) -> HttpServer:
    """Return the control plane over the state in `data`, listening but not yet serving."""
    state = State(data / "control-plane.json")
    return HttpServer((host, port), functools.partial(Connection, state, threading.Lock()))
