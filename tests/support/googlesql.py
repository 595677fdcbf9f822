"""Google's own SQL analyzer and reference evaluator, as WebAssembly in this process.

`zetasql` on PyPI brings the module and its protocol buffers. Its own client is not used: it compiles the
module in each process, for half a minute, and copies every message byte by byte.

    catalog = GoogleSql(folder).catalog({"p.d.trips": {"fare": "FLOAT"}})
    catalog.analyze("SELECT fare FROM `p.d.trips`")  # RefusedError if BigQuery would refuse it
"""

from __future__ import annotations

import ctypes
import datetime as dt
import fcntl
import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message
from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig
from zetasql.core.wasm_client import get_tzinfo_dir
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as language
from zetasql.wasi._pb2.zetasql.public import type_pb2, value_pb2

M = TypeVar("M", bound=Message)
Schema = Mapping[str, str]
"""Types by column, as BigQuery's API or its SQL names them."""
Rows = Sequence[Mapping[str, Any]]

TYPES = {
    "INTEGER": type_pb2.TYPE_INT64, "INT64": type_pb2.TYPE_INT64, "FLOAT": type_pb2.TYPE_DOUBLE,
    "FLOAT64": type_pb2.TYPE_DOUBLE, "NUMERIC": type_pb2.TYPE_NUMERIC, "STRING": type_pb2.TYPE_STRING,
    "BOOLEAN": type_pb2.TYPE_BOOL, "BOOL": type_pb2.TYPE_BOOL, "DATE": type_pb2.TYPE_DATE,
    "DATETIME": type_pb2.TYPE_DATETIME, "TIMESTAMP": type_pb2.TYPE_TIMESTAMP,
}  # fmt: skip
FIELDS = {
    type_pb2.TYPE_INT64: "int64_value", type_pb2.TYPE_DOUBLE: "double_value",
    type_pb2.TYPE_BOOL: "bool_value", type_pb2.TYPE_STRING: "string_value", type_pb2.TYPE_DATE: "date_value",
    type_pb2.TYPE_NUMERIC: "numeric_value", type_pb2.TYPE_DATETIME: "datetime_value",
    type_pb2.TYPE_TIMESTAMP: "timestamp_value",
}  # fmt: skip
NAMES = {kind: name for name, kind in TYPES.items()} | {type_pb2.TYPE_INT64: "INT64"}
# What BigQuery documents of the language; the module knows more, which Google keeps for other products.
FEATURES = (
    "ADDITIONAL_STRING_FUNCTIONS", "ALLOW_DASHES_IN_TABLE_NAME", "ANALYTIC_FUNCTIONS", "BIGNUMERIC_TYPE",
    "CIVIL_TIME", "CREATE_EXTERNAL_TABLE_WITH_PARTITION_COLUMNS",
    "CREATE_EXTERNAL_TABLE_WITH_TABLE_ELEMENT_LIST", "CREATE_TABLE_CLUSTER_BY", "CREATE_TABLE_NOT_NULL",
    "CREATE_TABLE_PARTITION_BY", "DATE_ARITHMETICS", "DATE_TIME_CONSTRUCTORS", "DECIMAL_ALIAS",
    "DML_UPDATE_WITH_JOIN", "EXTENDED_DATE_TIME_SIGNATURES", "FORMAT_IN_CAST", "GROUPING_SETS",
    "GROUP_BY_ROLLUP", "HAVING_IN_AGGREGATE", "INTERVAL_TYPE", "IS_DISTINCT", "JSON_ARRAY_FUNCTIONS",
    "JSON_TYPE", "LIMIT_IN_AGGREGATE", "NAMED_ARGUMENTS", "NULLS_FIRST_LAST_IN_ORDER_BY",
    "NULL_HANDLING_MODIFIER_IN_AGGREGATE", "NULL_HANDLING_MODIFIER_IN_ANALYTIC", "NUMERIC_TYPE",
    "OMIT_INSERT_COLUMN_LIST", "ORDER_BY_COLLATE", "ORDER_BY_IN_AGGREGATE", "PARAMETERIZED_TYPES", "PIVOT",
    "QUALIFY", "SAFE_FUNCTION_CALL", "SELECT_STAR_EXCEPT_REPLACE", "TABLESAMPLE", "TEMPLATE_FUNCTIONS",
    "UNPIVOT", "WEEK_WITH_WEEKDAY", "WITH_ON_SUBQUERY", "WITH_RECURSIVE",
)  # fmt: skip
# Of those that BigQuery documents for tables and columns, the ones that statements here have.
OPTIONS = ("description", "format", "uris", "hive_partition_uri_prefix")


class RefusedError(Exception):
    """The analyzer's own sentence; BigQuery's would be much the same."""


@dataclass(frozen=True)
class Analyzed:
    """A statement: its kind, such as `query`, and names and types of the columns it returns or creates."""

    kind: str
    columns: Schema
    partition_columns: Schema


class GoogleSql:
    """The module in memory; its compiled code, which takes half a minute, is kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        config = Config()
        config.shared_memory = True
        engine = Engine(config)
        self._store = Store(engine)
        wasi = WasiConfig()
        wasi.inherit_stderr()
        wasi.preopen_dir(get_tzinfo_dir(), "/usr/share/zoneinfo")
        self._store.set_wasi(wasi)
        linker = Linker(engine)
        linker.define_wasi()
        instance = linker.instantiate(self._store, _module(engine, folder))
        self._exports = instance.exports(self._store)
        self._exports["_initialize"](self._store)

    def catalog(self, tables: Mapping[str, Schema], views: Mapping[str, str] | None = None) -> Catalog:
        """Tables by full name, and views by full name with their queries."""
        catalog = Catalog(self, tables)
        for name, query in (views or {}).items():
            (view,) = catalog.analyze(query)
            catalog = Catalog(self, {**catalog.tables, name: view.columns})
        return catalog

    def functions(self) -> set[str]:
        """Names of all functions that any of Google's products with this language has."""
        wanted = service.LanguageOptionsRequest(maximum_features=True)
        every = self.call("GetLanguageOptions", wanted, options_pb2.LanguageOptionsProto)
        every.product_mode = language.PRODUCT_EXTERNAL
        request = options_pb2.ZetaSQLBuiltinFunctionOptionsProto(language_options=every)
        found = self.call("GetBuiltinFunctions", request, service.GetBuiltinFunctionsResponse).function
        aliases = {one.options.alias_name.upper() for one in found}
        return {".".join(one.name_path).upper() for one in found} | aliases - {""}

    def call(self, method: str, request: Message, answer: type[M]) -> M:
        """Call a method of the module's service. Raises RefusedError."""
        sent = request.SerializeToString()
        at, size_at = self._run("wasm_malloc", len(sent)), self._run("wasm_malloc", 4)
        ctypes.memmove(self._memory + at, sent, len(sent))
        found = self._run(f"ZetaSqlLocalService_{method}", at, len(sent), size_at)
        if not found:
            text = self._read(self._run("wasm_get_last_error"), self._run("wasm_get_last_error_size"))
            raise RefusedError(text.decode().partition("Message: ")[2])
        got = answer.FromString(self._read(found, int.from_bytes(self._read(size_at, 4), "little")))
        for pointer in (at, size_at, found):
            self._run("wasm_free", pointer)
        return got

    def _run(self, name: str, *arguments: int) -> int:
        result = self._exports[name](self._store, *arguments)
        return int(result or 0)

    @property
    def _memory(self) -> int:
        return ctypes.addressof(self._exports["memory"].data_ptr().contents)

    def _read(self, at: int, size: int) -> bytes:
        return ctypes.string_at(self._memory + at, size)


class Catalog:
    """Tables that statements are resolved against, under BigQuery's rules."""

    def __init__(self, google: GoogleSql, tables: Mapping[str, Schema]) -> None:
        self.tables = tables
        self._google, self._options = google, _options()
        self._catalog = simple_catalog_pb2.SimpleCatalogProto(name="bigquery")
        self._catalog.builtin_function_options.language_options.CopyFrom(self._options.language_options)
        for name, schema in tables.items():
            table = self._catalog.table.add(name=name)
            for column, kind in schema.items():
                table.column.add(name=column, is_writable_column=True).type.type_kind = TYPES[kind]
        request = service.RegisterCatalogRequest(simple_catalog=self._catalog)
        self._id = google.call("RegisterCatalog", request, service.RegisterResponse).registered_id

    def analyze(self, script: str, parameters: Schema | None = None) -> list[Analyzed]:
        """Resolve each statement of a script; `parameters` are types by name. Raises RefusedError."""
        request = service.AnalyzeRequest(
            options=self._options_with(parameters or {}), registered_catalog_id=self._id
        )
        place, end = request.parse_resume_location, len(script.encode())
        place.input, found = script, []
        while place.byte_position < end:
            resolved = self._google.call("Analyze", request, service.AnalyzeResponse)
            found.append(_analyzed(resolved.resolved_statement))
            place.byte_position = resolved.resume_byte_position
            # Blanks and comments after the last semicolon are no statement.
            if not _code(script.encode()[place.byte_position :].decode()):
                break
        return found

    def select(
        self, query: str, rows: Mapping[str, Rows], parameters: Mapping[str, tuple[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a query over tables with `rows`, by the reference implementation."""
        request = service.EvaluateQueryRequest(**self._evaluated(query, rows, parameters or {}))
        answer = self._google.call("EvaluateQuery", request, service.EvaluateQueryResponse)
        columns = [(column.name, column.type.type_kind) for column in answer.prepared.columns]
        return [
            {name: _read(kind, cell) for (name, kind), cell in zip(columns, row.cell, strict=True)}
            for row in answer.content.table_data.row
        ]

    def inserted(
        self, statement: str, rows: Mapping[str, Rows], parameters: Mapping[str, tuple[str, Any]]
    ) -> list[dict[str, Any]]:
        """The rows that an INSERT adds."""
        request = service.EvaluateModifyRequest(**self._evaluated(statement, rows, parameters))
        answer = self._google.call("EvaluateModify", request, service.EvaluateModifyResponse)
        columns = self.tables[answer.table_name].items()
        return [
            {name: _read(TYPES[kind], cell) for (name, kind), cell in zip(columns, row.cell, strict=True)}
            for row in answer.content
        ]

    def _evaluated(
        self, statement: str, rows: Mapping[str, Rows], parameters: Mapping[str, tuple[str, Any]]
    ) -> dict[str, Any]:
        content = {name: self._content(name, rows.get(name, ())) for name in self.tables}
        return {
            "sql": statement,
            "options": self._options_with({name: kind for name, (kind, _) in parameters.items()}),
            "simple_catalog": self._catalog,
            "table_content": content,
            "params": [
                service.Parameter(name=name, value=_value(TYPES[kind], value))
                for name, (kind, value) in parameters.items()
            ],
        }

    def _content(self, name: str, rows: Rows) -> service.TableContent:
        content = service.TableContent()
        content.table_data.SetInParent()
        schema = self.tables[name].items()
        for row in rows:
            cells = [_value(TYPES[kind], row.get(column)) for column, kind in schema]
            content.table_data.row.add(cell=cells)
        return content

    def _options_with(self, parameters: Schema) -> options_pb2.AnalyzerOptionsProto:
        options = options_pb2.AnalyzerOptionsProto()
        options.CopyFrom(self._options)
        for name, kind in parameters.items():
            options.query_parameters.add(name=name).type.type_kind = TYPES[kind]
        return options


def _module(engine: Engine, folder: Path) -> Module:
    """The compiled module from `folder`; the first process compiles it, and the others wait."""
    of = f"{version('zetasql')} {version('wasmtime')} {platform.platform()}"
    kept = folder / f"{hashlib.sha256(of.encode()).hexdigest()[:16]}.module"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            for old in folder.glob("*.module"):
                old.unlink()
            part = folder / "part"
            part.write_bytes(Module.from_file(engine, str(get_wasm_path())).serialize())
            part.rename(kept)
        return Module.deserialize_file(engine, str(kept))


def _options() -> options_pb2.AnalyzerOptionsProto:
    options = options_pb2.AnalyzerOptionsProto(default_timezone="UTC")
    options.error_message_mode = language.ERROR_MESSAGE_ONE_LINE
    allowed = options.allowed_hints_and_options
    # An option that BigQuery does not know is a statement that it does not run.
    allowed.disallow_unknown_options = True
    for name in OPTIONS:
        kind = allowed.option.add(name=name).type
        kind.type_kind = type_pb2.TYPE_STRING
        if name == "uris":
            kind.type_kind = type_pb2.TYPE_ARRAY
            kind.array_type.element_type.type_kind = type_pb2.TYPE_STRING
    chosen = options.language_options
    # BigQuery's edition: no INT32, no DOUBLE, no protocol buffers.
    chosen.product_mode = language.PRODUCT_EXTERNAL
    chosen.enabled_language_features.extend(
        language.LanguageFeature.Value(f"FEATURE_{name}") for name in FEATURES
    )
    chosen.reserved_keywords.append("QUALIFY")
    return options


def _code(script: str) -> str:
    lines = (line.partition("--")[0] for line in script.splitlines())
    return "".join(lines).strip(" \t;")


def _analyzed(statement: Any) -> Analyzed:
    node, kind = statement, ""
    # Statements that create or alter are wrapped in what all of them have.
    while "node" in node.DESCRIPTOR.oneofs_by_name:
        kind = node.WhichOneof("node")
        node = getattr(node, kind)
    kind = kind.removeprefix("resolved_").removesuffix("_stmt_node")
    columns, partitions = dict[str, str](), dict[str, str]()
    if kind == "query":
        columns = {found.name: NAMES[found.column.type.type_kind] for found in node.output_column_list}
    if kind == "create_external_table":
        columns = _defined(node.parent.column_definition_list)
        partitions = _defined(node.with_partition_columns.column_definition_list)
    return Analyzed(kind, columns, partitions)


def _defined(columns: Iterable[Any]) -> Schema:
    return {column.name: NAMES[column.type.type_kind] for column in columns}


def _value(kind: int, value: Any) -> value_pb2.ValueProto:
    if value is None:
        return value_pb2.ValueProto()
    if kind == type_pb2.TYPE_DATETIME:
        parts = ((value.year, 26), (value.month, 22), (value.day, 17), (value.hour, 12), (value.minute, 6))
        seconds = sum(part << bits for part, bits in parts) + value.second
        datetime = value_pb2.ValueProto.Datetime(
            bit_field_datetime_seconds=seconds, nanos=value.microsecond * 1000
        )
        return value_pb2.ValueProto(datetime_value=datetime)
    if kind == type_pb2.TYPE_TIMESTAMP:
        found = value_pb2.ValueProto()
        found.timestamp_value.FromDatetime(value)
        return found
    if kind == type_pb2.TYPE_DATE:
        value = (value - dt.date(1970, 1, 1)).days
    if kind == type_pb2.TYPE_NUMERIC:
        value = int(Decimal(value).scaleb(9)).to_bytes(16, "little", signed=True)
    return value_pb2.ValueProto(**{FIELDS[kind]: value})


def _read(kind: int, value: value_pb2.ValueProto) -> Any:
    if value.WhichOneof("value") is None:
        return None
    if kind == type_pb2.TYPE_DATETIME:
        packed, nanos = value.datetime_value.bit_field_datetime_seconds, value.datetime_value.nanos
        day = dt.date(packed >> 26, packed >> 22 & 15, packed >> 17 & 31)
        time = dt.time(packed >> 12 & 31, packed >> 6 & 63, packed & 63, nanos // 1000)
        return dt.datetime.combine(day, time)
    if kind == type_pb2.TYPE_TIMESTAMP:
        return value.timestamp_value.ToDatetime(dt.UTC)
    found = getattr(value, FIELDS[kind])
    if kind == type_pb2.TYPE_DATE:
        return dt.date(1970, 1, 1) + dt.timedelta(days=found)
    if kind == type_pb2.TYPE_NUMERIC:
        return Decimal(int.from_bytes(found, "little", signed=True)).scaleb(-9)
    return found
