"""Process frame of all services: options, connection limits, logging, start and stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
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
from taxiway.environment.ports import USUAL, listen

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
    option = made.add_argument
    option("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    option("--port", type=int, default=USUAL[component], help="port to listen on (default %(default)s)")
    name = "host name, besides loopback's, that clients may use, such as a Compose service's name"
    option("--allow-host", action="append", default=[], metavar="NAME", help=name)
    made.set_defaults(token_file=None)
    if not public:
        token = "file with the bearer token that clients must carry (default: no token needed)"  # noqa: S105
        option("--token-file", type=Path, metavar="FILE", help=token)
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


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in `file`, empty without a file. Raises CannotStartError if it holds anything else."""
    try:
        found = json.loads(file.read_bytes()) if file.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        found = error
    if not isinstance(found, dict):
        raise CannotStartError(f"{file} holds no JSON object: {found}. Move it away to start without it.")
    return found


def serve(
    name: str,
    options: argparse.Namespace,
    open_app: Open,
    open_paths: tuple[str, ...] = (),
    more_token_files: tuple[Path, ...] = (),
) -> int:
    """Serve what `open_app` yields until SIGTERM or Ctrl-C, then close it. Returns the exit code.

    A client carries the token of `--token-file`, or that of one of the others. A CannotStartError or OSError
    of `open_app` becomes one line in the log, and exit code 1.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(asctime)s %(name)s %(message)s"))
    # force: the warehouse's library configures the root logger when it is imported.
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("uvicorn.error", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        tokens = [token_in(file) for file in (options.token_file, *more_token_files) if file]
        # Bind first: a taken port is reported before any data is opened.
        with (
            listen(options.host, options.port) as listener,
            asyncio.Runner(loop_factory=auto_loop_factory()) as runner,
        ):
            runner.run(_serve(name, listener, open_app, (options.allow_host, tokens, open_paths)))
    except (CannotStartError, OSError) as error:
        logging.getLogger(name).critical("cannot start: %s", error)
        return 1
    return 0


async def _serve(name: str, listener: socket.socket, open_app: Open, guarded: tuple[Any, ...]) -> None:
    async with open_app() as app:
        config = uvicorn.Config(
            Guard(app, *guarded),
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
        server = uvicorn.Server(config)
        # It would raise a captured SIGTERM again once it has stopped, and end the process with its data open.
        server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]
        for number in (signal.SIGTERM, signal.SIGINT):
            # Running requests are still answered, for two seconds at most.
            asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
        logging.getLogger(name).info("listening on http://%s:%s", *listener.getsockname()[:2])
        await server.serve(sockets=[listener])


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's connection with limits for a request's head: its size, and the time until it is complete.

    uvicorn has neither with httptools, so one client could fill the memory or use up all connections.
    """

    head_bytes = 64 << 10
    head_seconds = 30.0
    _head: int | None = None  # bytes of a head that is not complete
    _deadline: asyncio.TimerHandle | None = None

    def _expect(self, head: int | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._head, self._deadline = head, None
        if head is not None:
            self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head."""
        super().connection_made(transport)
        self._expect(0)

    def on_message_begin(self) -> None:
        """Expect the next head."""
        super().on_message_begin()
        self._expect(0)

    def on_headers_complete(self) -> None:
        """Expect no head; the body has its own limits."""
        self._expect(None)
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an incomplete head."""
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > self.head_bytes:
                self.send_400_response(f"The head of the request is larger than {self.head_bytes} bytes.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._expect(None)
        super().connection_lost(exc)


class PlainFormatter(logging.Formatter):
    """Escapes control characters: clients choose what is logged, and a terminal must not obey them."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging names it
        """The message on one line."""
        return super().formatMessage(record).translate(CONTROL)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging names it
        """The traceback, with its own line breaks."""
        return "\n".join(line.translate(CONTROL) for line in super().formatException(ei).splitlines())
