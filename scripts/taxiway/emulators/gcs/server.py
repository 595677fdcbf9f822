"""HTTP for the storage service. Gap: the library serves one client at a time, and a slow one blocks all."""

import functools
import json
import logging
import re
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from gcp_storage_emulator import server as library
from gcp_storage_emulator.exceptions import BadRequest, Conflict, NotFound

from taxiway.emulators.gcs import objects, routes
from taxiway.emulators.gcs.store import Store
from taxiway.emulators.serving import HttpHandler, HttpServer, google_error

PIECE = 1 << 20
LIBRARY_ROUTES = [(re.compile(pattern), handlers) for pattern, handlers in library.HANDLERS]
# The library's last route takes any path for /BUCKET/OBJECT, an unknown part of the JSON API included.
JSON_ROUTES, XML_ROUTES = LIBRARY_ROUTES[:-1], LIBRARY_ROUTES[-1:]
XML = re.compile(r"/(?!storage/|upload/|download/|batch/|b/)[-.\w]+/.")
_read_body = library._read_raw_data
logger = logging.getLogger("gcs")


class Answer:
    """The library's response, kept until the lock is free, and able to stream a file."""

    def __init__(self) -> None:
        self.status: Any = HTTPStatus.OK
        self.headers: dict[str, str] = {}
        self.payload: Any = b""
        self.file: BinaryIO | None = None
        self.span = (0, 0)

    @property
    def status_code(self) -> int:
        """The status as a number."""
        return int(self.status)

    @status_code.setter
    def status_code(self, code: int) -> None:
        self.status = HTTPStatus(code)

    def __setitem__(self, key: str, value: str) -> None:
        self.headers[key] = value

    def __getitem__(self, key: str) -> str:
        return self.headers[key]

    def write(self, content: str) -> None:
        """Add text to the answer."""
        self.payload = (self.payload or b"") + content.encode()

    def write_file(self, content: bytes | str, content_type: str | None = None) -> None:
        """Answer with `content`."""
        if content_type:
            self["Content-Type"] = content_type
        self.payload = content.encode() if isinstance(content, str) else content

    def json(self, content: Any) -> None:
        """Answer with JSON; a copy is kept as of now, while the lock is held."""
        self["Content-Type"] = "application/json; charset=UTF-8"
        self.payload = json.loads(json.dumps(content))

    def stream(self, file: BinaryIO, start: int, end: int) -> None:
        """Answer with bytes `start` to `end` (exclusive) of an open file, sent after the lock is free."""
        self.file, self.span = file, (start, end)


class Handler(HttpHandler):
    """One connection: read the body, answer under the lock, send without it."""

    store: Store
    lock: threading.Lock

    def answer(self) -> None:
        """Answer one request."""
        method = self.headers.get("x-http-method-override") or self.command
        request, answer = library.Request(self, method), Answer()
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # the library leaves the last chunk's line end unread
        try:
            body = request.data
            handler = self._route(request)
            with self.lock:
                routes.check_conditions(request, self.store)
                handler(request, answer, self.store)
        except ConnectionError:
            self.close_connection = True
            return
        except Exception as error:
            answer = self._failed(request, error)
            body = b""
        del body
        self._send(request, answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 (the base class names them)

    def _route(self, request: Any) -> Any:
        own = [] if routes.LIBRARY_FIRST.fullmatch(request.path) else routes.ROUTES
        for pattern, handlers in (*own, *(XML_ROUTES if XML.match(request.path) else JSON_ROUTES)):
            match = pattern.fullmatch(request.path)
            handler = handlers.get(request.method) if match else None
            if handler:
                request.set_match(match)
                return handler
        if request.method == "POST" and request.query.get("uploadType"):
            return self._route_upload(request)
        raise routes.Refused(
            501, f"Not part of the emulated storage service: {request.method} {request.path}"
        )

    def _route_upload(self, request: Any) -> Any:
        """Some clients upload without the /upload prefix."""
        match = re.fullmatch(r"(?:/storage/v1)?/b/(?P<bucket_name>[-.\w]+)/o", request.path)
        if not match:
            raise routes.Refused(501, f"Not part of the emulated storage service: POST {request.path}")
        request.set_match(match)
        return library.objects.insert

    def _failed(self, request: Any, error: Exception) -> Answer:
        code = {NotFound: 404, Conflict: 409, BadRequest: 400, json.JSONDecodeError: 400}.get(
            type(error), 500
        )
        answer = Answer()
        if isinstance(error, routes.Refused):
            code, body = error.code, error.body
        else:
            body = google_error(code, str(error) or f"{HTTPStatus(code).phrase}: {request.path}")
        if code >= 500:
            logger.error("%s %s: %s", request.method, request.path, error, exc_info=code == 500)
        if code == 500:
            with self.lock:
                self.store.reload()
        answer.status_code = code
        answer.json(body)
        return answer

    def _send(self, request: Any, answer: Answer) -> None:
        payload = answer.payload
        if answer.status_code >= 400 and not payload:
            # Gap: the library leaves the body of its errors empty.
            answer.json(google_error(answer.status_code, f"{answer.status.phrase}: {request.path}"))
            payload = answer.payload
        if isinstance(payload, dict):
            payload = json.dumps(objects.linked(payload, request.base_url)).encode()
        length = len(payload) if answer.file is None else answer.span[1] - answer.span[0]
        self.send_response(answer.status_code, answer.status.phrase)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if answer.file is None:
            self.wfile.write(payload)
        else:
            self._send_file(answer.file, *answer.span)

    def _send_file(self, file: BinaryIO, start: int, end: int) -> None:
        with file:
            file.seek(start)
            while start < end and (piece := file.read(min(PIECE, end - start))):
                self.wfile.write(piece)
                start += len(piece)


def _whole_body(read: Any, request: Any) -> bytes | None:
    """Gap: the library stores as an object what had arrived when a client went away."""
    content: bytes | None = read(request)
    if len(content or b"") < int(request.headers.get("Content-Length") or 0):
        raise ConnectionError("the client went away in the middle of a request")
    return content


def create_server(host: str, port: int, data: Path) -> HttpServer:
    """Return the service over the objects under `data`, listening but not yet serving."""
    objects.correct_library()
    library._read_raw_data = functools.partial(_whole_body, _read_body)
    handler = functools.partial(Handler)
    Handler.store, Handler.lock = Store(data), threading.Lock()
    return HttpServer((host, port), handler)
