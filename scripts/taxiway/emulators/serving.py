"""Process frame of all services: options, connection limits, logging, start and stop."""

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

# Longer than Google's clients keep idle connections in their pools: a closed one costs them a retry.
IDLE_SECONDS = 300
CONNECTIONS = 500
# Stored HTML must neither run scripts nor read cookies of the other services on this host.
HEADERS = [("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox")]
CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
Open = Callable[[], AbstractAsyncContextManager[ASGI]]


class CannotStartError(Exception):
    """One sentence: why a service does not start, and the remedy."""


def parser(description: str, component: str, *, public: bool = False) -> argparse.ArgumentParser:
    """The options of all services; the default port is the usual one of `component`.

    A `public` service has no `--token-file`.
    """
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    port_help = "port to listen on (default %(default)s)"
    made.add_argument("--port", type=int, default=USUAL[component], help=port_help)
    host_help = "host name, besides loopback's, that clients may use, such as a Compose service's name"
    made.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=host_help)
    made.set_defaults(token_file=None)
    if not public:
        file_help = "file with the bearer token that clients must carry (default: no token needed)"
        made.add_argument("--token-file", type=Path, metavar="FILE", help=file_help)
    return made


def token_in(file: Path | None) -> str:
    """The token in `file`, empty without a file. Raises CannotStartError if the file holds none."""
    if file is None:
        return ""
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStartError(f"the token file cannot be read: {error}") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CannotStartError(f"the token file {file} must hold one line of ASCII without spaces.")
    return token


def serve(name: str, options: argparse.Namespace, open_app: Open, open_paths: tuple[str, ...] = ()) -> int:
    """Serve what `open_app` yields until SIGTERM or Ctrl-C, then close it. Returns the exit code.

    A CannotStartError or OSError of `open_app` becomes one line in the log, and exit code 1.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(asctime)s %(name)s %(message)s"))
    # force: the warehouse's library configures the root logger when it is imported.
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("uvicorn.error", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        token = token_in(options.token_file)
        # Bind first: a taken port is reported before any data is opened.
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        with socket.create_server((options.host, options.port), family=family, backlog=128) as listener:
            work = _serve(
                name, listener, open_app, lambda app: Guard(app, options.allow_host, token, open_paths)
            )
            with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
                runner.run(work)
    except (CannotStartError, OSError) as error:
        logging.getLogger(name).critical("cannot start: %s", error)
        return 1
    return 0


async def _serve(name: str, listener: socket.socket, open_app: Open, guard: Callable[[ASGI], ASGI]) -> None:
    async with open_app() as app:
        config = uvicorn.Config(
            guard(app),
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
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        logging.getLogger(name).info("listening on http://%s:%s", *listener.getsockname()[:2])
        await server.serve(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers.

    uvicorn raises a captured SIGTERM again when it has stopped, which kills the process with its data open.
    """

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Leave signals to the caller."""
        return contextlib.nullcontext()

    def stop(self) -> None:
        """Stop when running requests are answered, at most two seconds later."""
        self.should_exit = True


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's connection with limits for a request's head: its size, and the time until it is complete.

    uvicorn has neither with httptools, so one client could fill the memory or use up all connections.
    """

    head_bytes = 64 << 10
    head_seconds = 30.0
    _head: int | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request."""
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        """Start the timer of the next request."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Stop the timer; the body has its own limits."""
        self._forget_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an incomplete head."""
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > self.head_bytes:
                self.send_400_response(f"The head of the request is larger than {self.head_bytes} bytes.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
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
    """Escapes control characters: clients choose what is logged, and a terminal must not obey them."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging names it
        """The message on one line."""
        return super().formatMessage(record).translate(CONTROL)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging names it
        """The traceback, with its own line breaks."""
        return "\n".join(line.translate(CONTROL) for line in super().formatException(ei).splitlines())
