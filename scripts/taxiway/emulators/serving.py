"""What the services share as processes: options, limits of a connection, log, start and end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.loops.auto import auto_loop_factory
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from taxiway.emulators.guard import ASGI, Guard
from taxiway.environment.machine import USUAL

# Longer than Google's clients keep an idle connection in their pool: a closed one costs them a retry.
IDLE_SECONDS = 300
CONNECTIONS = 500
# An object is opened by whoever follows a link: it must not run scripts, nor read a neighbour's cookies.
HEADERS = [("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox")]
CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


class CannotStartError(Exception):
    """A sentence that says why a service does not start, and what to do."""


def parser(description: str, port: str, *, public: bool = False) -> argparse.ArgumentParser:
    """The options that all services take. `port` is the component whose usual port is the default.

    A `public` service has no `--token-file`: what it serves is anybody's.
    """
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    made.add_argument("--port", type=int, default=USUAL[port], help="port to listen on (default %(default)s)")
    made.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="host name that clients may use besides loopback's, such as a Compose service's name",
    )
    made.set_defaults(token_file=None)
    if not public:
        made.add_argument(
            "--token-file",
            type=Path,
            metavar="FILE",
            help="file with the token that clients carry as bearer token (default: none is asked for)",
        )
    return made


def token_in(file: Path | None) -> str:
    """The token in `file`, empty without one. Raises CannotStartError where the file holds none."""
    if file is None:
        return ""
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStartError(f"the token file cannot be read: {error}") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CannotStartError(f"the token file {file} holds no token: one line of ASCII without spaces.")
    return token


def serve(
    name: str,
    options: argparse.Namespace,
    open_app: Callable[[], AbstractAsyncContextManager[ASGI]],
    open_paths: tuple[str, ...] = (),
) -> int:
    """Serve what `open_app` yields until SIGTERM or Ctrl-C, then close it. Returns the exit code.

    `open_app` may raise CannotStartError or OSError: that is one line in the log, and exit code 1.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(asctime)s %(name)s %(message)s"))
    # The warehouse's library has set up a log of its own.
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("uvicorn.error", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        token = token_in(options.token_file)
        with _listening(options.host, options.port) as listener:
            work = _serve(name, listener, open_app, options.allow_host, token, open_paths)
            with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
                runner.run(work)
    except (CannotStartError, OSError) as error:
        logging.getLogger(name).critical("cannot start: %s", error)
        return 1
    return 0


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens already: a port that is taken is known before any data is opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128)


async def _serve(
    name: str,
    listener: socket.socket,
    open_app: Callable[[], AbstractAsyncContextManager[ASGI]],
    hosts: list[str],
    token: str,
    open_paths: tuple[str, ...],
) -> None:
    async with open_app() as app:
        config = uvicorn.Config(
            Guard(app, hosts, token, open_paths),
            http=LimitedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            headers=HEADERS,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=2,
        )
        server = Server(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.leave)
        logging.getLogger(name).info("listening on http://%s:%s", *listener.getsockname()[:2])
        await server.serve(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn's server, which ends when told so; the data is closed after it.

    uvicorn takes SIGTERM for itself and sends it to its own process again when it has ended, which then dies
    with its data open.
    """

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Leave the signals to whoever runs the server."""
        return contextlib.nullcontext()

    def leave(self) -> None:
        """End as soon as running requests are answered, or two seconds later."""
        self.should_exit = True


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's connection with limits on the size of a request's head and on the time until it is complete.

    uvicorn has neither with httptools: one client could fill the memory, or take all connections, without
    ever sending a request.
    """

    head_bytes = 64 << 10
    head_seconds = 30.0
    _head: int | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        """Wait for the rest of the next request's head."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is there; the body has limits of its own."""
        self._forget_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > self.head_bytes:
                self.send_400_response(f"The head of the request is larger than {self.head_bytes} bytes.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer with the connection."""
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._forget_head()
        self._head, self._deadline = 0, self.loop.call_later(self.head_seconds, self.transport.close)

    def _forget_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._head = self._deadline = None


class PlainFormatter(logging.Formatter):
    """A log line stays one line and never speaks to the terminal, whatever a client sent."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging names it
        """The line, with control characters escaped."""
        return super().formatMessage(record).translate(CONTROL)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging names it
        """The traceback, whose own line breaks stay."""
        return "\n".join(line.translate(CONTROL) for line in super().formatException(ei).splitlines())
