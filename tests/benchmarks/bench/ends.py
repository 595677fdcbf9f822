"""The two ends of a transfer, as fast as can be: a file on a web server, a bucket that keeps nothing.

`bench.ends origin PORT FILE` answers every path with the file; ranges work.
`bench.ends sink PORT` takes uploads as Cloud Storage does (resumable, in chunks) or as `curl -T` sends them,
stores nothing, and answers /last with what it received.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google_crc32c

_PIECE = 1 << 20
_RANGE = re.compile(r"bytes=(\d+)-")
_CHUNK = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class Handler(BaseHTTPRequestHandler):
    """Keep-alive without the 40 ms that Nagle and delayed acknowledgement cost per answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        """Nothing: a line for each request would cost more than the request."""


class Origin(Handler):
    """One connection to the source."""

    def __init__(self, file: Path, *more: Any) -> None:
        self._file = file
        super().__init__(*more)

    def answer(self) -> None:
        """Send the file, or the rest of it."""
        size = self._file.stat().st_size
        part = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(part[1]) if part else 0
        self.send_response(206 if part else 200)
        self.send_header("Content-Type", "binary/octet-stream")
        self.send_header("Content-Length", str(size - start))
        self.send_header("ETag", f'"{size}"')
        self.send_header("Accept-Ranges", "bytes")
        if part:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.flush()
            with self._file.open("rb") as content:
                content.seek(start)
                self.connection.sendfile(content, start)

    do_GET = do_HEAD = answer  # noqa: N815 - the base class names them


class Sink(Handler):
    """One connection to the bucket. What it knows of the last upload is shared by all."""

    last: dict[str, Any] = {}  # noqa: RUF012 - of the process, on purpose

    def do_GET(self) -> None:
        """No object is ever there."""
        if self.path == "/last":
            return self._answer(200, {k: v for k, v in self.last.items() if k != "hash"})
        return self._answer(404, {"error": {"code": 404, "message": "not here"}})

    def do_POST(self) -> None:
        """Open an upload session; take a small object whole."""
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        body, content = self._body(), None
        if query.get("uploadType") == "multipart":
            boundary = self.headers["Content-Type"].split("boundary=")[1].strip("\"'").encode()
            _, first, second, _ = body.split(b"--" + boundary, 3)
            body, content = (part.split(b"\r\n\r\n", 1)[1][:-2] for part in (first, second))
        described = json.loads(body or b"{}")
        name = query.get("name", described.get("name", ""))
        self._begin(name=name, metadata=described.get("metadata"))
        if content is not None:
            self.last["hash"].update(content)
            self.last["bytes"] = len(content)
            return self._answer(200, self._resource())
        host = self.headers["Host"]
        return self._answer(200, {}, {"Location": f"http://{host}/upload/session"})

    def do_PUT(self) -> None:
        """Take a chunk of a session, or a whole body."""
        if not self.path.startswith("/upload/"):
            self._begin()
        self._receive(int(self.headers.get("Content-Length") or 0))
        chunk = _CHUNK.fullmatch(self.headers.get("Content-Range", ""))
        if chunk and (chunk[3] == "*" or self.last["bytes"] < int(chunk[3])):
            return self._answer(308, None, {"Range": f"bytes=0-{self.last['bytes'] - 1}"})
        return self._answer(200, self._resource())

    def do_PATCH(self) -> None:
        """Take metadata."""
        self.last["metadata"] = json.loads(self._body() or b"{}").get("metadata")
        self._answer(200, self._resource())

    def _begin(self, **facts: Any) -> None:
        self.last.clear()
        self.last.update(facts, bytes=0, hash=google_crc32c.Checksum())  # type: ignore[no-untyped-call]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _receive(self, size: int) -> None:
        buffer = memoryview(bytearray(_PIECE))
        while size:
            got = self.rfile.readinto(buffer[: min(size, _PIECE)])
            if not got:
                raise ConnectionError("the client went away")
            self.last["hash"].update(bytes(buffer[:got]))
            self.last["bytes"] += got
            size -= got

    def _resource(self) -> dict[str, Any]:
        self.last["crc32c"] = base64.b64encode(self.last["hash"].digest()).decode()
        return {
            "name": self.last.get("name", ""),
            "size": str(self.last["bytes"]),
            "generation": "1",
            "metageneration": "1",
            "crc32c": self.last["crc32c"],
            "metadata": self.last.get("metadata") or {},
        }

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serve until SIGTERM, which ends the process: there is nothing to be closed."""
    end, port, *rest = sys.argv[1:]
    handler: Any = functools.partial(Origin, Path(rest[0])) if end == "origin" else Sink
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
