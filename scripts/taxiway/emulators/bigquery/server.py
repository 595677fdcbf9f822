"""Compose the library's parts: a confined engine, a guarded gRPC server, and `Front` before its application.

The library's own composition root is not used: it starts an unguarded web server, and an engine that
downloads an extension and reads any file.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb
import grpc.aio  # type: ignore[import-untyped]
from bqemulator.config import LogFormat, LogLevel, PersistenceMode, Settings
from bqemulator.observability.logging_ import configure_logging

# Before the following imports, whose loggers would otherwise keep writing to stdout.
configure_logging(level=LogLevel.INFO, fmt=LogFormat.JSON)

from bqemulator.api.app import create_app  # noqa: E402
from bqemulator.api.dependencies import AppContext  # noqa: E402
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository  # noqa: E402
from bqemulator.domain.clock import SystemClock  # noqa: E402
from bqemulator.domain.errors import InvalidQueryError  # noqa: E402
from bqemulator.domain.events import EventBus  # noqa: E402
from bqemulator.grpc_api import interceptors  # noqa: E402
from bqemulator.grpc_api.read_servicer import BigQueryReadHandler  # noqa: E402
from bqemulator.grpc_api.write_servicer import BigQueryWriteHandler  # noqa: E402
from bqemulator.jobs.upload_session_manager import UploadSessionManager  # noqa: E402
from bqemulator.observability.metrics import MetricsRegistry  # noqa: E402
from bqemulator.row_access.policy import RowAccessPolicyManager  # noqa: E402
from bqemulator.storage.engine import DuckDBEngine  # noqa: E402
from bqemulator.udf.runtime import UDFRegistry  # noqa: E402
from bqemulator.versioning.materialized_views import hydrate_subscriptions  # noqa: E402
from bqemulator.versioning.snapshots import SnapshotManager  # noqa: E402

from taxiway.emulators import gcs  # noqa: E402
from taxiway.emulators.bigquery.corrections import corrected  # noqa: E402
from taxiway.emulators.bigquery.front import Front  # noqa: E402
from taxiway.emulators.guard import ASGI, carries  # noqa: E402
from taxiway.emulators.serving import CannotStartError  # noqa: E402
from taxiway.environment.ports import refuse_shared  # noqa: E402

# The statement types that BigQuery's SQL translates to. DuckDB's others reach files, extensions and settings.
STATEMENTS = {"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "TRANSACTION", "MERGE_INTO"}
# The library's own statement for loading a staged file.
LOAD = re.compile(r'COPY "[^"]+"\."[^"]+" FROM \? \(FORMAT (CSV, HEADER|JSON)\)')
CONFINED = (
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_persistent_secrets = false",
    "SET allowed_directories = [{}]",
    "SET enable_external_access = false",
    # A checkpoint writes all of a table anew that rows were deleted from: by default, with each month that is
    # loaded again.
    "SET checkpoint_threshold = '256MB'",
    "SET lock_configuration = true",
)
GRPC_BYTES = 11 << 20


class Engine(DuckDBEngine):
    """The library's engine, restricted to the files of objects and uploads, without extensions.

    BigQuery: SQL has no access to files. Library: translated SQL runs on a connection with access to all
    files of the user, and the engine does not start without `spatial` (50 MB, downloaded).
    """

    def __init__(self, settings: Settings, folders: list[Path]) -> None:
        super().__init__(settings)
        self._folders = folders
        self._reader: Any = None

    async def start(self) -> None:
        """Open the database, then drop all rights that are not needed."""
        await super().start()
        writer: Any = self._connection
        self._reader = writer.cursor()
        self._reader.execute("SET TimeZone = 'UTC'")
        places = ", ".join("'" + str(folder).replace("'", "''") + "'" for folder in self._folders)
        for setting in CONFINED:
            writer.execute(setting.format(places))

    def _load_spatial(self) -> None:
        """Skip it: the only wheel has 50 MB and an unknown publisher."""

    @property
    def connection(self) -> Any:
        """The connection of the current thread: gRPC runs in the main thread, REST in another.

        BigQuery: readers see committed rows. Library: gRPC shares REST's connection and sees its open
        transaction.
        """
        if self._reader is not None and threading.current_thread() is threading.main_thread():
            return self._reader
        return super().connection

    def interrupt(self) -> None:
        """Stop the statement that a REST request runs; safe to call from any thread."""
        if self._connection is not None:
            self._connection.interrupt()

    def execute(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """Run SQL; raises InvalidQueryError for statement types that BigQuery does not have."""
        for statement in self.connection.extract_statements(sql):
            kind = statement.type.name
            if kind not in STATEMENTS and not LOAD.fullmatch(sql):
                raise InvalidQueryError(f"Syntax error: Unsupported statement: {kind}")
        try:
            return super().execute(sql, parameters)
        except duckdb.CatalogException as error:
            if "in the spatial extension" in str(error):
                raise InvalidQueryError("GEOGRAPHY is not part of the emulated warehouse.") from None
            raise
        except duckdb.ConstraintException as error:
            if missing := re.search(r"NOT NULL constraint failed: \S+\.(\w+)", str(error)):
                raise InvalidQueryError(f"Required field {missing[1]} cannot be null") from None
            raise
        except duckdb.InterruptException:
            raise InvalidQueryError("Job execution was cancelled: User requested cancellation") from None


class Snapshots(SnapshotManager):
    """The library's snapshots, limited to those that users create.

    BigQuery: time travel costs writes nothing. Library: it copies the whole table after each write.
    """

    def capture(self, *table: str, kind: str = "AUTO") -> Any:
        """Copy a table, unless for time travel."""
        return None if kind == "AUTO" else super().capture(*table, kind=kind)


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The guard for gRPC: rejects calls without the environment's token as UNAUTHENTICATED."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Pass a call on, or reject it."""
        given = [value for name, value in details.invocation_metadata if name == "authorization"]
        if not self._token or carries(self._token, given):
            return await continuation(details)

        async def refuse(_request: Any, context: Any) -> None:
            message = "The call lacks this environment's bearer token."
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)

        return grpc.unary_unary_rpc_method_handler(refuse)


@asynccontextmanager
async def open_app(data: Path, lake: Path, grpc_address: tuple[str, int], token: str) -> AsyncIterator[ASGI]:
    """Open the service with the database in `data`; `lake` is the storage service's folder of objects.

    Raises CannotStartError if another process uses the data, or gRPC's port.
    """
    uploads = data / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        persistence_mode=PersistenceMode.PERSISTENT,
        data_dir=data,
        gcs_local_root=lake,
        upload_staging_dir=uploads,
        # DuckDB's `avro` comes from the same publisher; the library can read AVRO without it.
        enable_format_extensions=False,
        log_format=LogFormat.JSON,
    )
    engine = Engine(settings, [lake / gcs.FILES, uploads])
    try:
        await engine.start()
    except duckdb.IOException as error:
        raise CannotStartError(str(error)) from None
    try:
        # Remove what a kill left, now that the engine has locked the data.
        shutil.rmtree(uploads, ignore_errors=True)
        uploads.mkdir()
        with corrected():
            context = context_of(settings, engine)
            application = Front(create_app(context), context, data).application()
            server = _grpc_server(context, grpc_address, token)
            await server.start()
            yield application
            await server.stop(grace=2)
    finally:
        await engine.stop()


def context_of(settings: Settings, engine: DuckDBEngine, snapshots: type = Snapshots) -> AppContext:
    """The collaborators of the library's handlers."""
    clock, events, catalog = SystemClock(), EventBus(), DuckDBCatalogRepository(engine)
    catalog.ensure_ready()
    context = AppContext(
        settings=settings,
        clock=clock,
        engine=engine,
        catalog=catalog,
        metrics=MetricsRegistry(),
        events=events,
        udf_registry=UDFRegistry(settings),
        snapshots=snapshots(
            engine=engine,
            catalog=catalog,
            clock=clock,
            events=events,
            retention_days=settings.time_travel_retention_days,
        ),
        row_access=RowAccessPolicyManager(catalog=catalog, clock=clock),
        upload_sessions=UploadSessionManager(
            staging_dir=settings.upload_staging_dir,
            max_bytes=settings.upload_max_bytes,
            ttl_seconds=settings.upload_session_ttl_seconds,
            clock=clock,
        ),
    )
    context.udf_registry.hydrate(catalog, engine)
    hydrate_subscriptions(context)
    return context


def _grpc_server(context: AppContext, address: tuple[str, int], token: str) -> Any:
    """The Storage Read and Write APIs. Raises CannotStartError if the port is taken."""
    server = grpc.aio.server(
        interceptors=(
            TokenInterceptor(token),
            interceptors.CorrelationInterceptor(),
            interceptors.MetricsInterceptor(context.metrics),
            interceptors.DomainErrorTranslationInterceptor(),
        ),
        options=[
            ("grpc.max_send_message_length", GRPC_BYTES),
            ("grpc.max_receive_message_length", GRPC_BYTES),
            # The port may be held.
            ("grpc.so_reuseport", 1),
        ],
    )
    server.add_generic_rpc_handlers([BigQueryReadHandler(context), BigQueryWriteHandler(context)])
    try:
        refuse_shared(*address)
        server.add_insecure_port("{}:{}".format(*address))
    except (RuntimeError, OSError) as error:
        raise CannotStartError("gRPC on {}:{}: {}".format(*address, error)) from None
    return server
