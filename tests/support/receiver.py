"""A webhook of one's own: takes the JSON that is posted, as Slack would, or a catalogue of lineage."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from http_server import HttpServer

# Other tests of the same run, whose processes are looked at as well, have another.
SECRET = f"/services/T000/B000/of-nobody-else-{secrets.token_hex(8)}"


class Receiver(HttpServer):
    """Keeps what is posted to `path`; answers `status`."""

    status = 200

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path = path
        self.messages: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return self.address + self.path

    def texts(self) -> list[str]:
        return [message["text"] for message in self.messages]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.path == self.server.path and self.headers["Content-Type"] == "application/json"
        if known:
            self.server.messages.append(json.loads(body))
        self.send_response(self.server.status if known else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def running(path: str = SECRET) -> Iterator[Receiver]:
    """Run one on a free port."""
    with Receiver(path) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
