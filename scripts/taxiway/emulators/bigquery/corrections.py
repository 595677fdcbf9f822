"""Corrections that replace functions inside the library.

Each docstring gives BigQuery's behaviour and the library's; `docs/emulators.md` has titles of issues for its
maintainers. A test in `test_corrections.py` fails as soon as a correction is no longer needed.
"""

from __future__ import annotations

import functools
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import Any

import sqlglot
from bqemulator.api.routes import jobs as job_routes
from bqemulator.api.routes import upload as upload_routes
from bqemulator.catalog import ddl_sync
from bqemulator.domain.errors import ValidationError
from bqemulator.jobs import executor
from bqemulator.scripting import interpreter
from bqemulator.sql import inner_query
from bqemulator.sql.parameters import _extract_value
from bqemulator.sql.rewriter import (
    aggregate_variants,
    alter_table_set_options,
    create_table_schema_ctas,
    information_schema,
)
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.versioning.ddl import VersioningDDLRouter
from sqlglot import expressions
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.dialects.dialect import Dialect
from sqlglot.expressions import Expr
from sqlglot.generators.bigquery import BigQueryGenerator
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.parser import Parser

from taxiway.emulators.answers import Json
from taxiway.emulators.bigquery.described import expanded, literal, no_materialized_views, option
from taxiway.emulators.bigquery.spelled import WORDS, required_in, spelled, with_rows
from taxiway.emulators.bigquery.weeks import counted
from taxiway.emulators.gcs import find

# Enough for the statements of a few jobs.
REMEMBERED = 64
parameters: ContextVar[tuple[Json, ...]] = ContextVar("parameters", default=())
"""The query parameters of the running job."""
_load = executor.execute_load_job
_rewrite = interpreter._rewrite_vars_to_params
_parse = Dialect.parse
_unnest = Parser._implicit_unnests_to_explicit
_filter_target = aggregate_variants._filter_target
_versioned = VersioningDDLRouter.parse
_COMMENTS = re.compile(r"\A(\s*(/\*.*?\*/|(--|#)[^\n]*\n))+", re.DOTALL)
_sync_dropped = ddl_sync.sync_dropped_object
_DDL = re.compile(r"\b(CREATE|DROP|ALTER)\b", re.IGNORECASE)
_WRITING = {"WRITER", "OWNER", *(f"roles/bigquery.{role}" for role in ("dataEditor", "dataOwner", "admin"))}
_STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


@contextmanager
def corrected() -> Iterator[None]:
    """Apply the corrections within a block. Raises AttributeError if the library lacks a replaced name."""
    loaders = executor._LOAD_FORMAT_HANDLERS | {"PARQUET": _load_parquet}
    with ExitStack() as stack:
        for owner, name, replacement in (
            (executor, "ScriptInterpreter", Script),
            (interpreter, "ScriptInterpreter", Script),
            (interpreter, "_rewrite_vars_to_params", _with_parameters),
            (executor, "_resolve_uri", _staged),
            (executor, "_LOAD_FORMAT_HANDLERS", loaders),
            # It reads AVRO files with decimals with fastavro, and others with an extension of DuckDB.
            (executor, "is_decimal_logical_avro", lambda _path: True),
            (job_routes, "execute_load_job", _load_objects),
            (upload_routes, "execute_load_job", _load_atomically),
            (ddl_sync, "_detect_catalog_drop", _of_ddl(ddl_sync._detect_catalog_drop)),
            (ddl_sync, "_detect_create_schema", _of_ddl(ddl_sync._detect_create_schema)),
            (executor, "sync_dropped_object", _sync_changed),
            (interpreter, "sync_dropped_object", _sync_changed),
            (Dialect, "parse", _parse_once),
            (expressions.Expression, "__deepcopy__", _copied),
            (Parser, "_implicit_unnests_to_explicit", _unnested),
            # It knows CREATE TABLE ... CLONE and the like only where no comment precedes; dbt's always does.
            (
                VersioningDDLRouter,
                "parse",
                lambda router, sql: _versioned(router, _COMMENTS.sub("", sql, count=1)),
            ),
            (aggregate_variants, "_filter_target", _aggregated),
            # It takes the first ")" for the last one; what follows the last one, it looks at itself.
            (alter_table_set_options, "_match_balanced_parens", lambda sql, _at: sql.rfind(")")),
            (create_table_schema_ctas, "_apply_schema_ctas_rewrite", with_rows),
            (inner_query, "expand_information_schema", expanded),
            # Its steps hand each other BigQuery's SQL; only an alias gives the columns of VALUES names.
            (BigQueryGenerator, "SUPPORTS_TABLE_ALIAS_COLUMNS", True),
            (DuckDBGenerator, "RESERVED_KEYWORDS", DuckDBGenerator.RESERVED_KEYWORDS | WORDS),
            (information_schema, "_sql_literal", literal),
            (information_schema, "_quote_for_option", option),
            (information_schema, "_empty_mv_values_subquery", no_materialized_views),
        ):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, replacement)
        yield


class Script(interpreter.ScriptInterpreter):
    """The library's script interpreter with DuckDB's own transactions.

    BigQuery: transactions are atomic, and rolled back if the script leaves them open. Library: it copies
    tables and restores them on an error, so a kill leaves half a transaction; open transactions are
    committed.
    """

    async def run(self, source: str) -> Any:
        """Run a script and roll back an open transaction."""
        try:
            return await super().run(source)
        finally:
            await self._restore_txn_snapshots()

    async def _exec_set(self, stmt: Any) -> None:
        """Set variables.

        BigQuery: SET (x) = (SELECT AS STRUCT …) sets `x` to the one field, as dbt's `insert_overwrite` wants
        it. Library: to the struct.
        """
        await super()._exec_set(stmt)
        name, *others = stmt.targets
        variable = self._frames.all_visible()[name]
        fields = variable.value if isinstance(variable.value, dict) and not others else {}
        if len(fields) == 1 and not str(variable.type_name).upper().startswith(("STRUCT", "JSON")):
            self._frames.set(name, *fields.values())

    async def _handle_txn_statement(self, op: str) -> None:
        if op == "ROLLBACK":
            await self._restore_txn_snapshots()
        elif op == "COMMIT" and self._active_txn is not None:
            self._ctx.engine.execute("COMMIT")
            self._active_txn = None
        elif op == "BEGIN" and self._active_txn is None:
            self._ctx.engine.execute("BEGIN TRANSACTION")
            self._active_txn = {}

    async def _snapshot_dml_targets(self, sql: str) -> None:
        """Do nothing: DuckDB keeps the old rows."""

    async def _drop_txn_snapshots(self) -> None:
        """Do nothing: only COMMIT commits."""

    async def _restore_txn_snapshots(self) -> None:
        if self._active_txn is not None:
            self._active_txn = None
            self._ctx.engine.execute("ROLLBACK")


def _with_parameters(sql: str, frames: Any) -> tuple[str, list[Any]]:
    """Replace a script's variables and its job's parameters by numbered ones, and return their values.

    BigQuery: every statement of a script can use the job's parameters. Library: scripts do not know them.
    """
    text, values = _rewrite(sql, frames)
    given = {entry["name"]: entry for entry in parameters.get() if entry.get("name")}
    if "@" not in text or not given:
        return text, values
    tree = sqlglot.parse_one(text, read="bigquery")
    for node in list(tree.find_all(expressions.Parameter)):
        entry = given.get(node.name)
        if entry is not None:
            kind = (entry.get("parameterType") or {}).get("type")
            node.replace(interpreter._build_scalar_placeholder(_extract_value(entry), kind, values))
    return tree.sql(dialect="bigquery"), values


def _aggregated(operand: Any) -> Any:
    """The value that an aggregate with IGNORE NULLS leaves out where it is NULL.

    BigQuery: ARRAY_AGG(DISTINCT x IGNORE NULLS) is a list, as dbt's `insert_overwrite` wants it. Library: it
    takes `DISTINCT x` for the value, and cannot read the statement that it makes of that.
    """
    value = _filter_target(operand)
    return value.expressions[0] if isinstance(value, expressions.Distinct) else value


def _parse_once(dialect: Dialect, sql: str, **options: Any) -> list[Expr | None]:
    """Parse each statement once, and give every caller a copy, because callers modify their trees.

    Library: it parses each statement about twenty times, which takes two fifths of its CPU time.
    """
    if options or dialect.settings:
        return _translated(type(dialect), _parse(dialect, sql, **options))
    return [tree and tree.copy() for tree in _trees(type(dialect), sql)]


def _copied(whole: Expr, _memo: object) -> Expr:
    """Copy a tree.

    Library: it copies what each node says of its place in the text value by value, which is half of the time.
    """
    root = type(whole)()
    stack = [(whole, root)]

    def child(node: Expr, parent: Expr, key: str, index: int | None) -> Expr:
        made = type(node)()
        made.parent, made.arg_key, made.index = parent, key, index
        stack.append((node, made))
        return made

    while stack:
        node, made = stack.pop()
        made.comments = node.comments and list(node.comments)
        made._type = node._type and node._type.copy()
        made._meta = node._meta and dict(node._meta)
        made._hash = node._hash
        for key, value in node.args.items():
            if isinstance(value, Expr):
                made.args[key] = child(value, made, key, None)
            elif type(value) is list:
                made.args[key] = [
                    child(one, made, key, at) if isinstance(one, Expr) else one
                    for at, one in enumerate(value)
                ]
            else:
                made.args[key] = value
    return root


def _unnested(parser: Parser, query: Expr) -> Expr:
    """Look for arrays among the joins of a query that joins tables by comma only.

    Library: it copies the FROM of each query to learn its name, of nested ones again at each level.
    """
    joins = query.args.get("joins") or ()
    arrays = any(isinstance(join.this, expressions.Table) and not join.args.get("on") for join in joins)
    return _unnest(parser, query) if arrays else query


@functools.lru_cache(REMEMBERED)
def _trees(kind: type[Dialect], sql: str) -> list[Expr | None]:
    return _translated(kind, _parse(kind(), sql))


def _translated(kind: type[Dialect], trees: list[Expr | None]) -> list[Expr | None]:
    """Trees of BigQuery's SQL in words that DuckDB reads alike."""
    if not issubclass(kind, BigQuery):
        return trees
    return [tree and tree.transform(lambda node: spelled(counted(node))) for tree in trees]


def _of_ddl(detect: Callable[..., Any]) -> Callable[..., Any]:
    """Look for DDL in statements only that have one of its words.

    Library: it asks of each statement, with a tree of its own each time: a fifth of a long one's CPU time.
    """
    return lambda sql, *more: detect(sql, *more) if _DDL.search(sql) else None


def _sync_changed(sql: str, project: str, context: Any) -> None:
    """Describe a table as it is after ALTER TABLE or with required columns; called after each statement.

    BigQuery: tables.get has a column as soon as it is added, renamed, dropped or of another type. Library:
    the rows do, and the table's description stays as it was.
    """
    _sync_dropped(sql, project, context)
    if not _DDL.search(sql):
        return
    try:
        tree = sqlglot.parse_one(sql, read="bigquery")
    except sqlglot.ParseError:
        return
    table, required = tree.this, required_in(tree)
    if not isinstance(tree, expressions.Alter):
        if not required:
            return
        table = table.this
    if not isinstance(table, expressions.Table):
        return
    key = ddl_sync._split_target(table, project)
    known = context.catalog.get_table(*key)
    if known is None:
        return
    for column in required:
        context.engine.execute(f'ALTER TABLE {quoted_table_ref(*key)} ALTER COLUMN "{column}" SET NOT NULL')
    before = {field.name: field for field in known.schema_.fields}

    def described(field: Any) -> Any:
        old = before.get(field.name)
        return old if old and _STANDARD.get(old.type, old.type) == field.type else field

    found = ddl_sync._introspect_schema(*key, context)
    schema = found.model_copy(update={"fields": tuple(described(field) for field in found.fields)})
    context.catalog.update_table(known.model_copy(update={"schema_": schema}))


# Loads


async def _load_objects(project: str, job_id: str, config: Json, context: Any) -> Any:
    """Run a load job on objects of the storage service.

    BigQuery: sources are Cloud Storage objects that the caller may read; one `*` matches any characters;
    missing ones are `notFound`. Library: it also accepts `file:///etc/shadow` and plain paths, and reads
    `gs://BUCKET/NAME` from ROOT/BUCKET/NAME, although not every object name is a valid path.
    """

    def failed(reason: str, message: str) -> Any:
        error = {"reason": reason, "message": message}
        return job_routes._failed_job_meta(project, job_id, "LOAD", config, error, context.clock.now())

    callers = _writers(executor._parse_load_job_config(project, config), context)
    objects: list[tuple[str, Path]] = []
    for uri in (config.get("load") or {}).get("sourceUris") or []:
        match = re.fullmatch(r"gs://([^/*]+)/(.+)", str(uri), re.DOTALL)
        if not match or match[2].count("*") > 1:
            raise ValidationError(f"Source URI must be a Google Cloud Storage location: {uri}")
        try:
            found = find(context.settings.gcs_local_root, match[1], match[2], callers)
        except FileNotFoundError:
            found = []
        except PermissionError:
            globbing = "BigQuery BigQuery: Permission denied while globbing file pattern."
            what = globbing if "*" in match[2] else f"File {uri}: Access Denied"
            return failed("accessDenied", f"Access Denied: {what}")
        if not found:
            return failed("notFound", f"Not found: URI {uri}")
        objects += found
    folder = context.settings.upload_staging_dir / f"load-{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        links = []
        for at, (name, path) in enumerate(objects):
            # From an object's extension, DuckDB derives the compression.
            end = "".join(PurePosixPath(name).suffixes[-2:])
            links.append(folder / f"{at}{end if re.fullmatch('[.A-Za-z0-9]{0,20}', end) else ''}")
            links[-1].symlink_to(path)
        changed = config | {"load": config["load"] | {"sourceUris": [str(link) for link in links]}}
        job = await _load_atomically(project, job_id, changed, context)
        return job.model_copy(update={"configuration": config})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _writers(target: Any, context: Any) -> set[str]:
    """The service accounts that may write a load's dataset, as members of a bucket's policy.

    The environment has one token, so nobody knows who calls: it is one of these. A dataset that names none
    belongs to its project, whose owners may read every bucket.
    """
    dataset = context.catalog.get_dataset(target.project_id, target.dataset_id)
    writing = (one for one in (dataset.access_entries if dataset else ()) if one.role in _WRITING)
    members = {one.iam_member or f"serviceAccount:{one.user_by_email}" for one in writing}
    return {one for one in members if re.fullmatch("serviceAccount:.+@.+[.]gserviceaccount[.]com", one)}


def _staged(uri: str, context: Any) -> str:
    """The path of an uploaded or linked file. Raises ValidationError for all other URIs."""
    path = Path(uri.removeprefix("file://"))
    staging: Path = context.settings.upload_staging_dir
    if ".." in path.parts or staging not in (path.parent, path.parent.parent):
        raise ValidationError(f"The emulated warehouse loads Cloud Storage objects, and writes none: {uri}")
    return str(path)


def _load_parquet(path: str, target: str, context: Any) -> None:
    """Load Parquet by column name.

    BigQuery: it matches columns by name and ignores the path. Library: it matches by position, and turns
    `month=01` in a path into a column.
    """
    context.engine.execute(
        f"INSERT INTO {target} BY NAME SELECT * FROM read_parquet(?, hive_partitioning=false)",  # noqa: S608
        [path],
    )


async def _load_atomically(project: str, job_id: str, config: Json, context: Any) -> Any:
    """Run a load job atomically, with correct statistics.

    BigQuery: a failed load changes nothing; statistics count the loaded rows and bytes. Library: a failed
    load leaves its new table, or an emptied one; `outputRows` counts the whole table.
    """
    target = executor._parse_load_job_config(project, config)
    key = (target.project_id, target.dataset_id, target.table_id)
    before = context.catalog.get_table(*key)
    held = 0
    if before and target.write_disposition != "WRITE_TRUNCATE":
        counted = f"SELECT count(*) FROM {target.target_ref}"  # noqa: S608 - the library quotes it
        held = int(context.engine.execute(counted).fetchone()[0])
    context.engine.execute("BEGIN TRANSACTION")
    try:
        job = await _load(project, job_id, config, context)
        context.engine.execute("COMMIT")
    except BaseException:
        context.engine.execute("ROLLBACK")
        # The rollback does not reach the catalogue's cache.
        context.catalog._cache._tables.pop(key, None)
        if before is not None:
            context.catalog._cache._tables[key] = before
        raise
    sizes = [Path(uri.removeprefix("file://")).stat().st_size for uri in target.source_uris]
    facts = {
        "outputRows": str(int(job.statistics["load"]["outputRows"]) - held),
        "inputFiles": str(len(sizes)),
        "inputFileBytes": str(sum(sizes)),
        "badRecords": "0",
    }
    return job.model_copy(update={"statistics": {"load": facts}})
