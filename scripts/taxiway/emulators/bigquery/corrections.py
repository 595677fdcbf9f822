"""Corrections inside the library, applied once before it starts."""

import threading
from pathlib import Path
from typing import Any

import duckdb
from bqemulator.api.routes import jobs as job_routes
from bqemulator.api.routes import upload as upload_routes
from bqemulator.jobs import executor
from bqemulator.scripting.interpreter import ScriptInterpreter
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.versioning.snapshots import SnapshotManager

from taxiway.emulators.bigquery import extensions, parameters, parsed_once

Json = dict[str, Any]
_load = executor.execute_load_job
_run = ScriptInterpreter.run
_capture_really = SnapshotManager.capture


def correct_library() -> None:
    """Put the corrections below into the library's modules and classes.

    Raises AttributeError where another version of the library has no such place.
    """
    for owner, name, replacement in (
        (DuckDBEngine, "_load_spatial", _load_nothing),
        (DuckDBEngine, "_load_format_extensions", _load_nothing),
        (DuckDBEngine, "execute", _execute),
        (DuckDBEngine, "connection", property(_connection)),
        (SnapshotManager, "capture", _capture),
        (ScriptInterpreter, "run", _run_script),
        (ScriptInterpreter, "_handle_txn_statement", _transaction_statement),
        (ScriptInterpreter, "_snapshot_dml_targets", _keep_nothing),
        (ScriptInterpreter, "_drop_txn_snapshots", _keep_nothing),
        (ScriptInterpreter, "_restore_txn_snapshots", _roll_back),
        (executor, "_load_parquet", _load_parquet),
        (job_routes, "execute_load_job", _load_atomically),
        (upload_routes, "execute_load_job", _load_atomically),
    ):
        getattr(owner, name)
        setattr(owner, name, replacement)
    executor._LOAD_FORMAT_HANDLERS["PARQUET"] = _load_parquet
    parameters.correct_library()
    parsed_once.correct_library()


def _load_nothing(_engine: Any) -> None:
    """Leave the extensions to `_execute`, which loads one when a statement needs it."""


def _execute(engine: Any, sql: str, parameters: list[Any] | None = None) -> Any:
    """Run one statement; where it needs an extension, load that and run it again."""
    connection = engine.connection
    try:
        return connection.execute(sql, parameters)
    except duckdb.CatalogException as error:
        if not extensions.load_for(connection, error):
            raise
        return connection.execute(sql, parameters)


def _connection(engine: Any) -> Any:
    """Gap: the library's gRPC reads share REST's connection, and so see its open transaction."""
    if engine._connection is None:
        raise RuntimeError("the engine is not started")
    if engine._started and threading.current_thread() is threading.main_thread():
        if not hasattr(engine, "_reader"):
            engine._reader = engine._connection.cursor()
            engine._reader.execute("SET TimeZone = 'UTC'")
        return engine._reader
    return engine._connection


def _capture(manager: Any, project: str, dataset: str, table: str, *, kind: str = "AUTO") -> Any:
    """Gap: the library copies the whole table after each load and statement, for time travel unused here."""
    return None if kind == "AUTO" else _capture_really(manager, project, dataset, table, kind=kind)


async def _transaction_statement(script: Any, statement: str) -> None:
    """Gap: the library's transactions are copies of tables that it puts back on an error.

    A kill in between leaves half of a transaction for ever. Here they are DuckDB's own.
    """
    if statement == "ROLLBACK":
        await _roll_back(script)
    elif statement == "COMMIT" and script._active_txn is not None:
        script._ctx.engine.execute("COMMIT")
        script._active_txn = None
    elif statement == "BEGIN" and script._active_txn is None:
        script._ctx.engine.execute("BEGIN TRANSACTION")
        script._active_txn = {}


async def _run_script(script: Any, source: str) -> Any:
    """Gap: the library commits a transaction that its script leaves open; BigQuery rolls it back."""
    try:
        return await _run(script, source)
    finally:
        await _roll_back(script)


async def _keep_nothing(_script: Any, _sql: str = "") -> None:
    """DuckDB keeps the old rows itself."""


async def _roll_back(script: Any) -> None:
    if script._active_txn is not None:
        script._active_txn = None
        script._ctx.engine.execute("ROLLBACK")


def _load_parquet(path: str, target: str, context: Any) -> None:
    """Gap: the library loads by position and takes `month=01` in a path for one more column."""
    context.engine.execute(
        f"INSERT INTO {target} BY NAME SELECT * FROM read_parquet(?, hive_partitioning=false)",  # noqa: S608
        [path],
    )


async def _load_atomically(project: str, job_id: str, config: Json, context: Any) -> Any:
    """Gap: a load that fails half-way leaves the table it made, or one already emptied.

    Gap: the rows it reports are those of the whole table, and the files' bytes are missing.
    """
    target = executor._parse_load_job_config(project, config)
    key = (target.project_id, target.dataset_id, target.table_id)
    before = context.catalog.get_table(*key)
    held = 0 if target.write_disposition == "WRITE_TRUNCATE" else _rows(context, target.target_ref, before)
    context.engine.execute("BEGIN TRANSACTION")
    try:
        job = await _load(project, job_id, config, context)
        context.engine.execute("COMMIT")
    except BaseException:
        context.engine.execute("ROLLBACK")
        _forget(context.catalog._cache._tables, key, before)
        raise
    return job.model_copy(
        update={"statistics": {"load": _statistics(job, held, target.source_uris, context)}}
    )


def _rows(context: Any, reference: str, table: Any) -> int:
    if table is None:
        return 0
    return int(context.engine.execute(f"SELECT count(*) FROM {reference}").fetchone()[0])  # noqa: S608


def _forget(tables: dict[Any, Any], key: tuple[str, str, str], before: Any) -> None:
    """Make the catalogue's cache forget what was rolled back."""
    tables.pop(key, None)
    if before is not None:
        tables[key] = before


def _statistics(job: Any, held: int, uris: list[str], context: Any) -> Json:
    sizes = [Path(executor._resolve_uri(uri, context)).stat().st_size for uri in uris]
    return {
        "outputRows": str(int(job.statistics["load"]["outputRows"]) - held),
        "inputFiles": str(len(sizes)),
        "inputFileBytes": str(sum(sizes)),
        "badRecords": "0",
    }
