"""Compose the library's server with its corrections."""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
from pathlib import Path
from typing import Any

import duckdb
from bqemulator.config import LogFormat, LogLevel, PersistenceMode, Settings
from bqemulator.observability.logging_ import configure_logging

from taxiway.emulators.bigquery import extensions

configure_logging(level=LogLevel.INFO, fmt=LogFormat.JSON)  # before the next imports, which log to stdout
from bqemulator import server as library  # noqa: E402

from taxiway.emulators.bigquery import corrections  # noqa: E402
from taxiway.emulators.bigquery.front import Front  # noqa: E402

logger = logging.getLogger("bigquery")


def run(host: str, port: int, grpc_port: int, data: Path, lake: Path) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Raises OSError where the port is taken, an extension's wheel is missing, or another process has the data.
    """
    _check(host, port)
    platform = duckdb.connect().execute("PRAGMA platform").fetchone()
    extensions.provide(data, f"v{duckdb.__version__}", str(platform[0] if platform else ""))
    corrections.correct_library()
    place: Any = library
    place.create_app = functools.partial(_application, place.create_app, data)
    # Gap: the web server takes SIGTERM for itself and ends the process before the database is closed.
    place.uvicorn.Server.capture_signals = lambda _server: contextlib.nullcontext()
    try:
        asyncio.run(_serve(settings(host, port, grpc_port, data, lake)))
    except duckdb.IOException as error:
        raise OSError(str(error)) from error
    return 0


def _check(host: str, port: int) -> None:
    """Raise OSError where the port is taken; the web server would end the process with a traceback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def settings(host: str, port: int, grpc_port: int, data: Path, lake: Path) -> Settings:
    """Return the library's settings; nothing is read from the environment that is given here."""
    return Settings(
        rest_host=host,
        rest_port=port,
        grpc_host=host,
        grpc_port=grpc_port,
        persistence_mode=PersistenceMode.PERSISTENT,
        data_dir=data,
        gcs_local_root=lake,
        upload_staging_dir=data / "uploads",
        log_format=LogFormat.JSON,
    )


def _application(create: Any, data: Path, context: Any) -> Front:
    return Front(create(context), context, data)


async def _serve(chosen: Settings) -> None:
    server, stop = library.EmulatorServer(chosen), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    logger.info("listening on %s", server.rest_url)
    await stop.wait()
    await server.stop()
