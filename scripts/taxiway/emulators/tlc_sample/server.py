"""HTTP as TLC's content delivery network answers: GET and HEAD, ranges, 403 for what is not published."""

import functools
import re
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from taxiway.emulators.serving import HttpHandler, HttpServer
from taxiway.emulators.tlc_sample.store import Published, Store

PIECE = 1 << 20
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


class Handler(HttpHandler):
    """One connection."""

    def __init__(self, store: Store, *args: Any) -> None:
        self._store = store
        super().__init__(*args)

    def answer(self) -> None:
        """Answer one request."""
        path = unquote(urlsplit(self.path).path)
        if path == "/healthz":
            return self._text(
                HTTPStatus.OK, b'{"status": "ok", "service": "sample-source"}', "application/json"
            )
        file = self._store.find(path)
        if file is None:
            return self._text(HTTPStatus.FORBIDDEN, DENIED, "application/xml")
        if file.etag in self.headers.get("If-None-Match", ""):
            return self._head(HTTPStatus.NOT_MODIFIED, file, 0)
        return self._file(file)

    do_GET = do_HEAD = answer  # noqa: N815 (the base class names them)

    def _text(self, status: HTTPStatus, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _file(self, file: Published) -> None:
        start, end = _range(self.headers.get("Range", ""), file.size)
        if start >= file.size:
            return self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, file, 0, f"bytes */{file.size}")
        if (start, end) == (0, file.size) and "Range" not in self.headers:
            self._head(HTTPStatus.OK, file, file.size)
        else:
            self._head(HTTPStatus.PARTIAL_CONTENT, file, end - start, f"bytes {start}-{end - 1}/{file.size}")
        return self._content(file, start, end) if self.command == "GET" else None

    def _head(self, status: HTTPStatus, file: Published, length: int, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", file.content_type)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", file.etag)
        self.send_header("Last-Modified", format_datetime(file.modified, usegmt=True))
        self.send_header("Accept-Ranges", "bytes")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def _content(self, file: Published, start: int, end: int) -> None:
        with file.path.open("rb") as content:
            content.seek(start)
            while start < end and (piece := content.read(min(PIECE, end - start))):
                self.wfile.write(piece)
                start += len(piece)


def _range(header: str, size: int) -> tuple[int, int]:
    """Return start and end (exclusive) of one range of bytes; of the whole where there is not just one."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or match.groups() == ("", ""):
        return 0, size
    if not match[1]:
        return max(0, size - int(match[2])), size
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size


def create_server(host: str, port: int, store: Store) -> HttpServer:
    """Return the source, listening but not yet serving."""
    return HttpServer((host, port), functools.partial(Handler, store))
