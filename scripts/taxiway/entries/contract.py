"""Entries as Open Data Contracts (ODCS v3), and back.

What the standard has no word for is under `taxiway` in its customProperties. A contract that others wrote has
none, and is taken as far as it goes. https://bitol-io.github.io/open-data-contract-standard/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

import yaml

from elt.catalogue import STANDARD_AUDITS, Api, Audit, Column, Database, Dataset, Feed, Type
from elt.catalogue.model import ADDRESSES, ROOM_FOR_NAME, TABULAR_FORMATS, Severity
from elt.errors import PipelineError
from elt.periods import Period
from taxiway.entries import servers
from taxiway.entries.address import check_secrets, find_time, format_of
from taxiway.entries.columns import described, legal, snake
from taxiway.entries.servers import OURS, Json
from taxiway.errors import UsageError

VERSION = "v3.0.2"
_LOGICAL: Mapping[Type, tuple[str, Json]] = {
    "int16": ("integer", {"format": "i16"}),
    "int32": ("integer", {"format": "i32"}),
    "int64": ("integer", {"format": "i64"}),
    "float64": ("number", {"format": "f64"}),
    "numeric": ("number", {}),
    "string": ("string", {}),
    "bool": ("boolean", {}),
    "date": ("date", {"format": "yyyy-MM-dd"}),
    "datetime": ("date", {"format": "yyyy-MM-dd HH:mm:ss.SSSSSS"}),
    "timestamp": ("date", {"format": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSX"}),
}
# Types of stores, without what is in brackets behind them, and of the standard, for contracts of others.
_PHYSICAL: Mapping[str, Type] = {
    **dict.fromkeys(("smallint", "int2", "tinyint", "byteint"), "int16"),
    **dict.fromkeys(("int4",), "int32"),
    **dict.fromkeys(("int", "integer", "bigint", "int8", "long", "serial", "bigserial", "int64"), "int64"),
    **dict.fromkeys(
        ("float", "float64", "double", "real", "float4", "float8", "double precision", "binary_double"),
        "float64",
    ),
    **dict.fromkeys(("numeric", "decimal", "number", "money", "bignumeric"), "numeric"),
    **dict.fromkeys(("boolean", "bool", "bit"), "bool"),
    **dict.fromkeys(
        ("timestamptz", "timestamp with time zone", "timestamp_tz", "timestamp_ltz", "datetimeoffset"),
        "timestamp",
    ),
    **dict.fromkeys(("timestamp", "timestamp without time zone", "timestamp_ntz", "datetime2"), "datetime"),
    **dict.fromkeys(
        ("text", "varchar", "char", "character varying", "nvarchar", "uuid", "json", "jsonb"), "string"
    ),
}
_BY_LOGIC: Mapping[str, Type] = {
    "integer": "int64", "number": "float64", "string": "string", "boolean": "bool", "date": "date",
    "timestamp": "timestamp", "time": "string",
}  # fmt: skip
_SEVERITIES: Mapping[Severity, str] = {"stop": "error", "warn": "warning"}


@dataclass(frozen=True)
class Read:
    """An entry from a contract, and what of the contract is not in it."""

    dataset: Dataset
    notes: Sequence[str] = ()
    about: Sequence[str] = ()
    comments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    period: Period | None = None


def write(ds: Dataset) -> str:
    """An entry as the YAML of a contract."""
    table: Json = {
        "name": ds.name,
        "physicalName": ds.table or ds.name,
        "physicalType": "table" if ds.tabular else "file",
        "logicalType": "object",
        "businessName": ds.title,
        "properties": [_property(ds, column) for column in ds.columns],
        "quality": [_quality(audit) for audit in ds.audits],
    }
    contract = {
        "apiVersion": VERSION,
        "kind": "DataContract",
        "id": f"{ds.package}.{ds.name}" if ds.package else ds.name,
        "name": ds.name,
        "version": "1.0.0",
        "status": "active",
        "description": {"purpose": ds.title},
        "servers": [servers.written(ds)],
        "schema": [{key: value for key, value in table.items() if value}],
        "slaProperties": _cadence(ds),
        "customProperties": [{"property": OURS, "value": _own(ds)}],
    }
    shown = {key: value for key, value in contract.items() if value}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110)


def _property(ds: Dataset, column: Column) -> Json:
    logical, options = _LOGICAL[column.type]
    is_key = column.name == ds.key
    found: Json = {
        "name": column.name,
        "logicalType": logical,
        "logicalTypeOptions": dict(options),
        "physicalType": column.type,
        "description": column.description,
        # The standard's word is about values that are missing; ours is about the whole column (below).
        "required": is_key,
    }
    if is_key and ds.every:
        found |= {"partitioned": True, "partitionKeyPosition": 1}
    if is_key and any(audit.name == "key_unique" for audit in ds.audits):
        found |= {"primaryKey": True, "primaryKeyPosition": 1, "unique": True}
    own = {
        each.name: _plain(getattr(column, each.name))
        for each in fields(column)
        if each.name not in ("name", "type", "description")
        and getattr(column, each.name) not in (each.default, {})
    }
    if own:
        found["customProperties"] = [{"property": OURS, "value": own}]
    return {key: value for key, value in found.items() if value != {}}


def _quality(audit: Audit) -> Json:
    implementation = {"audit": audit.name, "variables": dict(audit.variables)}
    return {
        "name": audit.name,
        "type": "custom",
        "engine": OURS,
        "implementation": implementation,
        "severity": _SEVERITIES[audit.severity],
    }


def _cadence(ds: Dataset) -> list[Json]:
    if not ds.every:
        return []
    return [
        {"property": "frequency", "value": 1, "unit": ds.every},
        {"property": "latency", "value": ds.lag, "unit": ds.every},
    ]


def _own(ds: Dataset) -> Json:
    """The fields that have no place in the standard."""
    found: Json = {
        "key": ds.key,
        "first": _plain(ds.first),
        "file": ds.file,
        "format": ds.format,
        "cluster": list(ds.cluster),
        "feeds": [{"mart": feed.mart, "variables": dict(feed.variables)} for feed in ds.feeds],
        "starter": ds.starter,
        "reread": ds.reread,
        "marker": ds.marker,
    }
    found = {key: value for key, value in found.items() if value}
    found |= {} if ds.postgres else {"postgres": False}
    default = next(each.default for each in fields(ds) if each.name == "longest_row")
    return found | ({} if ds.longest_row == default else {"longest_row": ds.longest_row})


def _plain(value: Any) -> Any:
    """A value as YAML has it."""
    if isinstance(value, Period):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def read(file: Path, name: str = "", address: str = "") -> Read:
    """The entry that a contract describes; `address` is of its files, where the contract names none.

    UsageError for a text that is none, and for one that leaves open what an entry has to say.
    """
    contract = _parsed(file)
    table = _table(contract, name, file)
    own = _custom(contract)
    server = _server(contract)
    notes: list[str] = []
    types = {str(each.get("type")) for each in contract.get("servers") or [] if isinstance(each, dict)}
    columns = _columns(table, notes, OURS if own else "bigquery" if "bigquery" in types else "")
    called = name or _legal(str(contract.get("name") or table["name"] or ""))
    path = address or _path(server)
    if not path.startswith(ADDRESSES) and not _custom(server):
        raise UsageError(
            f"{file} names no address of its files that can be read",
            f"Add it: scripts/new {called} URL --from {file}",
        )
    check_secrets(path)
    try:
        found = _dataset(called, contract, table, server, own, path, columns)
    except PipelineError as error:
        raise UsageError(f"{file}: {error}") from None
    checks = [str(each.get("name") or each.get("rule") or each.get("type")) for each in _checks(table)]
    if checks:
        notes.append(f"Quality checks that are not taken over: {', '.join(checks)}. Write audits for them.")
    about = [f"From the data contract {contract.get('id')}, version {contract.get('version')}."]
    return Read(found, notes, about, {}, found.first)


def _parsed(file: Path) -> Json:
    try:
        contract = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(
            f"{file} cannot be read ({' '.join(str(error).split())[:200]})", "Name a YAML file."
        ) from None
    if not isinstance(contract, dict) or contract.get("kind") != "DataContract":
        raise UsageError(f"{file} is no Open Data Contract", "It has to begin with kind: DataContract.")
    if not str(contract.get("apiVersion", "")).startswith("v3."):
        raise UsageError(f"{file} has apiVersion {contract.get('apiVersion')}", "Contracts of v3 are read.")
    return contract


def _table(contract: Json, name: str, file: Path) -> Json:
    tables = [each for each in contract.get("schema") or [] if isinstance(each, dict)]
    named = [each for each in tables if name and name in (each.get("name"), each.get("physicalName"))]
    if len(tables) == 1 or named:
        return (named or tables)[0]
    known = ", ".join(str(each.get("name")) for each in tables) or "none"
    raise UsageError(
        f"{file} describes several tables, or none: {known}", f"Say which: scripts/new NAME --from {file}"
    )


def _server(contract: Json) -> Json:
    """The server that files come from: ours, or the first with an address."""
    servers = [each for each in contract.get("servers") or [] if isinstance(each, dict)]
    with_address = [
        each
        for each in servers
        if each.get("path") or _custom(each) or str(each.get("location", "")).startswith(ADDRESSES)
    ]
    return next(iter(with_address), {})


def _path(server: Json) -> str:
    """The address of its files, or what is below an API's; a database has none."""
    own = _custom(server)
    return str(own.get("path") or server.get("path") or ("" if own else server.get("location")) or "")


def _is_ours(contract: Json) -> bool:
    owned = contract.get("customProperties") or []
    return any(isinstance(each, dict) and each.get("property") == OURS for each in owned)


def _custom(owner: Json) -> Json:
    for each in owner.get("customProperties") or []:
        if isinstance(each, dict) and each.get("property") == OURS and isinstance(each.get("value"), dict):
            return dict(each["value"])
    return {}


def _checks(table: Json) -> list[Json]:
    """Rules of others."""
    owners = [table, *(table.get("properties") or [])]
    return [each for owner in owners for each in owner.get("quality") or [] if each.get("engine") != OURS]


def _columns(table: Json, notes: list[str], of_whom: str) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for number, each in enumerate(table.get("properties") or [], 1):
        kind = _type(each, of_whom)
        given = str(each.get("physicalName") or each.get("name") or "")
        if kind is None:
            notes.append(f"Left out: {each.get('name')} ({each.get('logicalType')}).")
            continue
        name = str(each.get("name") or "")
        legal_name = legal(name, number, columns)
        aliases = [text for text in (name, given) if text.strip().lower() != legal_name]
        own = _custom(each)
        options = {
            key: Period.parse(value)
            if key in ("since", "until")
            else tuple(value)
            if isinstance(value, list)
            else value
            for key, value in own.items()
        }
        given_options = {
            "aliases": tuple(dict.fromkeys(aliases)),
            "required": bool(each.get("required")),
            "unit": "",
        }
        if of_whom == OURS:
            given_options = {}
        text = " ".join(str(each.get("description") or "").split()) or described(legal_name, name)
        columns[legal_name] = Column(legal_name, kind, text, **{**given_options, **options})  # type: ignore[arg-type]
    return columns


def _type(each: Json, of_whom: str) -> Type | None:
    """The type of a property; `of_whom` has written it: ours, or for a store like bigquery."""
    physical = re.sub(r"\s*\(.*?\)", "", str(each.get("physicalType") or "")).strip().lower()
    if of_whom == OURS and physical in get_args(Type):
        return physical  # type: ignore[return-value]
    if physical == "timestamp" and of_whom == "bigquery":
        return "timestamp"
    return _PHYSICAL.get(physical) or _by_logic(each)


def _by_logic(each: Json) -> Type | None:
    kind = _BY_LOGIC.get(str(each.get("logicalType") or "string"))
    pattern = str((each.get("logicalTypeOptions") or {}).get("format") or "")
    if kind == "date" and "H" in pattern:
        return "timestamp" if re.search(r"[XxZzVO]", re.sub(r"'[^']*'", "", pattern)) else "datetime"
    return kind


def _dataset(
    name: str, contract: Json, table: Json, server: Json, own: Json, path: str, columns: Mapping[str, Column]
) -> Dataset:
    template, first = path, Period.parse(own["first"]) if own.get("first") else None
    if not _is_ours(contract) and (found := find_time(path)):
        template, first = found.template, found.period
    form = str(own.get("format") or "")
    told = str(server.get("format") or "").lower()
    source = servers.source(server, _custom(server))
    named = format_of(own.get("file") or path.partition("?")[0])[0] or isinstance(source, Api | Database)
    if not form and columns and not named:
        form = told if told in TABULAR_FORMATS else "jsonl" if "json" in told else "csv"
    key = _key(own, columns, table, first)
    if key and key in columns and not columns[key].required:
        columns = {**columns, key: replace(columns[key], required=True)}
    return Dataset(
        name,
        " ".join(
            str(
                table.get("businessName") or (contract.get("description") or {}).get("purpose") or name
            ).split()
        )[:100],
        template,
        table=_legal(str(table.get("physicalName") or name)) if columns else "",
        key=key,
        columns=tuple(columns.values()),
        format=form or None,  # type: ignore[arg-type]
        file=str(own.get("file") or ""),
        delimiter=str(server.get("delimiter") or ","),
        first=first,
        lag=_latency(contract, first),
        cluster=tuple(own.get("cluster") or ()),
        audits=_audits(table, own, first) if columns else (),
        feeds=tuple(Feed(each["mart"], each["variables"]) for each in own.get("feeds") or ()),
        postgres=own.get("postgres", True),
        source=source,
        starter=bool(own.get("starter")),
        reread=int(own.get("reread") or 0),
        marker=str(own.get("marker") or ""),
        **({"longest_row": own["longest_row"]} if "longest_row" in own else {}),
    )


def _key(own: Json, columns: Mapping[str, Column], table: Json, first: Period | None) -> str:
    """The key: ours; else what the contract partitions by, or its primary key, or the first column."""
    if own.get("key") or not columns:
        return str(own.get("key") or "")
    by_name = {legal(str(each.get("name")), 0, ()): each for each in table.get("properties") or []}
    moments = [name for name, column in columns.items() if column.type in ("datetime", "timestamp")]
    among = moments if first and moments else list(columns)
    for mark in ("partitioned", "primaryKey", "unique", "required"):
        if marked := [name for name in among if by_name.get(name, {}).get(mark)]:
            return marked[0]
    return among[0]


def _audits(table: Json, own: Json, first: Period | None) -> tuple[Audit, ...]:
    words: Mapping[str, Severity] = {word: ours for ours, word in _SEVERITIES.items()}
    found = tuple(
        Audit(
            str(each["implementation"]["audit"]),
            words.get(each.get("severity", ""), "warn"),
            dict(each["implementation"].get("variables") or {}),
        )
        for each in table.get("quality") or []
        if each.get("engine") == OURS
    )
    return found if found or own else STANDARD_AUDITS if first else (Audit("row_count"), Audit("key_present"))


def _latency(contract: Json, first: Period | None) -> int:
    """Periods until a file is there; of other units nothing follows for the schedule."""
    for each in contract.get("slaProperties") or []:
        if first and each.get("property") == "latency" and each.get("unit") == first.grain:
            return int(each["value"])
    return 1


def _legal(text: str) -> str:
    name = snake(text)[: ROOM_FOR_NAME - 1].strip("_") or "dataset"
    return name if name[0].isalpha() else f"d_{name}"[: ROOM_FOR_NAME - 1]
