"""A source that misbehaves as the test tells it, path by path."""

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from http_server import HttpServer


@dataclass
class FaultySource:
    """A static server whose every path answers as the test chose; unknown paths answer 403 as TLC's do."""

    url: str = ""
    answers: dict[str, list["Fault"]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def serve(self, path: str, content: bytes) -> None:
        """Answer `path` with `content`, as a healthy source would."""
        self.answers[path] = [Fault(200, content)]

    def serve_html(self, path: str) -> None:
        """Answer `path` with an error page under status 200."""
        page = b"<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>"
        self.answers[path] = [Fault(200, page, content_type="text/html")]

    def serve_status(self, path: str, status: int) -> None:
        """Answer `path` with a status and a short text."""
        self.answers[path] = [Fault(status, b"no such luck", content_type="text/plain")]

    def serve_after_failures(self, path: str, content: bytes, failures: int = 1, status: int = 500) -> None:
        """Answer `path` with `status` a number of times (a GET or HEAD each counts), then with `content`."""
        self.answers[path] = [Fault(status, b"try again")] * failures + [Fault(200, content)]

    def serve_truncated(self, path: str, content: bytes) -> None:
        """Announce the whole of `content`, send half, drop the connection, every time."""
        self.answers[path] = [Fault(200, content, sent=len(content) // 2)]

    def serve_truncated_once(self, path: str, content: bytes) -> None:
        """Drop the first connection (a HEAD does not count) half-way, then answer in full."""
        self.answers[path] = [Fault(200, content, sent=len(content) // 2), Fault(200, content)]

    def serve_corrupt(self, path: str, content: bytes) -> None:
        """Answer with a Parquet file whose footer is whole and whose data is overwritten."""
        middle = len(content) // 4
        self.answers[path] = [Fault(200, content[:middle] + b"\xff" * middle + content[2 * middle :])]

    def answer(self, path: str, method: str) -> "Fault":
        """Return what this request is answered with, and move on to the next answer."""
        queue = self.answers.get(path) or [Fault(403, b"<Error><Code>AccessDenied</Code></Error>")]
        spares_head = method == "HEAD" and queue[0].sent is not None
        return queue.pop(0) if len(queue) > 1 and not spares_head else queue[0]


@dataclass(frozen=True)
class Fault:
    """One answer; `sent` is how many bytes of the announced body really go out."""

    status: int
    body: bytes
    content_type: str = "binary/octet-stream"
    sent: int | None = None
    location: str | None = None


class _FaultyHandler(BaseHTTPRequestHandler):
    source: FaultySource

    def do_GET(self) -> None:
        self.source.requests.append((self.command, self.path))
        fault = self.source.answer(self.path, self.command)
        self.send_response(fault.status)
        self.send_header("Content-Type", fault.content_type)
        self.send_header("Content-Length", str(len(fault.body)))
        if fault.status == 200:
            self.send_header("ETag", f'"{zlib.crc32(fault.body):08x}"')
            self.send_header("Last-Modified", "Wed, 20 Mar 2024 06:00:00 GMT")
        if fault.location:
            self.send_header("Location", fault.location)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(fault.body[: fault.sent])

    do_HEAD = do_GET  # noqa: N815

    def log_message(
        self,
        format: str,  # noqa: A002
        *args: object,
    ) -> None:
        pass


@contextmanager
def running() -> Iterator[FaultySource]:
    """Run one on a free port."""
    source = FaultySource()
    handler = type("Handler", (_FaultyHandler,), {"source": source})
    with HttpServer(("127.0.0.1", 0), handler) as server:
        source.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield source
        server.shutdown()
