"""Compose the library's server with its corrections."""

import asyncio
import contextlib
import functools
import logging
import signal
from pathlib import Path
from typing import Any

import duckdb
from bqemulator.config import LogFormat, LogLevel, PersistenceMode, Settings
from bqemulator.observability.logging_ import configure_logging

from taxiway.local.bigquery import extensions
from taxiway.local.bigquery.front import Front

configure_logging(level=LogLevel.INFO, fmt=LogFormat.JSON)  # before the next imports, which log to stdout
from bqemulator import server as library  # noqa: E402

from taxiway.local.bigquery import corrections  # noqa: E402

logger = logging.getLogger("bigquery")


def run(host: str, port: int, grpc_port: int, data: Path, lake: Path) -> int:
    """Serve until SIGTERM or Ctrl-C. Raises FileNotFoundError where an extension's wheel is missing."""
    platform = duckdb.connect().execute("PRAGMA platform").fetchone()
    extensions.provide(data, f"v{duckdb.__version__}", str(platform[0] if platform else ""))
    corrections.correct_library()
    place: Any = library
    place.create_app = functools.partial(_application, place.create_app, data)
    # Gap: the web server takes SIGTERM for itself and ends the process before the database is closed.
    place.uvicorn.Server.capture_signals = lambda _server: contextlib.nullcontext()
    asyncio.run(_serve(settings(host, port, grpc_port, data, lake)))
    return 0


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
