"""What the HTTP services of the emulated cloud share; the standard library only, to start fast."""

import argparse
import contextlib
import hashlib
import logging
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

REASONS = {
    400: ("invalid", "INVALID_ARGUMENT"),
    403: ("forbidden", "PERMISSION_DENIED"),
    404: ("notFound", "NOT_FOUND"),
    409: ("conflict", "ABORTED"),
    412: ("conditionNotMet", "FAILED_PRECONDITION"),
    416: ("requestedRangeNotSatisfiable", "OUT_OF_RANGE"),
    500: ("backendError", "INTERNAL"),
    501: ("notImplemented", "UNIMPLEMENTED"),
}


class HttpServer(ThreadingHTTPServer):
    """A threading server that dies with its process and takes bursts of connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class HttpHandler(BaseHTTPRequestHandler):
    """Keep-alive without the 40 ms that Nagle and delayed acknowledgement cost per answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log through the service's logger instead of bare stderr."""
        logging.getLogger("http").info("%s %s", self.address_string(), format % args)

    def read_body(self) -> bytes:
        """Return the whole request body; keep-alive needs it read even where nobody wants it."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


def project_number(project: str) -> str:
    """Return the twelve-digit number that every service of the emulated cloud gives `project`."""
    if project.isdigit():
        return project
    digest = int.from_bytes(hashlib.sha256(project.encode()).digest()[:8], "big")
    return str(100_000_000_000 + digest % 900_000_000_000)


def google_error(code: int, message: str, reason: str = "", status: str = "") -> dict[str, Any]:
    """Return the error body that Google's JSON APIs answer with."""
    default_reason, default_status = REASONS.get(code, ("backendError", "UNKNOWN"))
    reason = reason or default_reason
    entry = {"message": message, "domain": "global", "reason": reason}
    return {
        "error": {"code": code, "message": message, "errors": [entry], "status": status or default_status}
    }


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path`: a reader, or a restart after kill -9, sees all of the new content or the old.

    One writer at a time: what a kill leaves beside it, the next write replaces.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


@contextlib.contextmanager
def open_temporary(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield an open descriptor and its path in `folder`; the file is gone afterwards unless it was moved."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".tmp-")
    try:
        yield handle, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def arguments(description: str, port: int) -> argparse.ArgumentParser:
    """Return the parser with what all services take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="port to listen on (default %(default)s)")
    return parser


def serve(create: Callable[[], HttpServer], name: str) -> int:
    """Serve until SIGTERM or Ctrl-C; each service's state is good at any moment, so leaving is simple.

    Returns 1 where the port is taken or the data cannot be read or written.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, _leave)
    try:
        server = create()
    except OSError as error:
        logging.getLogger(name).critical("cannot start: %s", error)
        return 1
    logging.getLogger(name).info("listening on http://%s:%s", *server.server_address[:2])
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        server.serve_forever()
    server.server_close()
    return 0


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
