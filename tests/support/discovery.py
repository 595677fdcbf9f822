"""Google's discovery documents as judges of requests and responses; google-api-python-client ships them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

Json = dict[str, Any]
DOCUMENTS = {
    "storage": "storage.v1",
    "bigquery": "bigquery.v2",
    "iam": "iam.v1",
    "crm": "cloudresourcemanager.v1",
    "su": "serviceusage.v1",
}
# Of a resumable upload; no document names it.
UPLOAD_ID = {"upload_id"}
# What Google's own clients send, and its services take.
CLIENTS_OWN = re.compile(
    r"unknown parameter projection=full"
    r"|request\..*\.parameterValue\.value is (None|[-\d.]+), not of type string"
    r"|.*\.skipLeadingRows is '\d+', not of type integer"
    r"|request\.(sourceObjects\[\d+\]\.generation|defaultTableExpirationMs) is \d+, not of type string"
)


@dataclass(frozen=True)
class Method:
    """A method of an API: its id, what its query may hold, and the schemas of its bodies."""

    id: str
    path: re.Pattern[str]
    verb: str
    parameters: Mapping[str, Json]
    request: Json | None
    response: Json | None


class Api:
    """One API, as its document describes it."""

    def __init__(self, name: str) -> None:
        documents = files("googleapiclient.discovery_cache") / "documents"
        self._document = json.loads((documents / f"{DOCUMENTS[name]}.json").read_text())
        self._schemas = self._document["schemas"]
        self._methods = list(self._found(self._document))
        self.lists_errors = name in ("storage", "bigquery")

    def _found(self, node: Json) -> Iterator[Method]:
        for entry in node.get("methods", {}).values():
            paths = [self._document["servicePath"] + entry.get("flatPath", entry["path"])]
            protocols = entry.get("mediaUpload", {}).get("protocols", {})
            paths += [protocol["path"].lstrip("/") for protocol in protocols.values()]
            if entry.get("supportsMediaDownload"):
                paths.append("download/" + paths[0])
            # Those of one resource are told apart by the verb alone.
            verbs = {entry["httpMethod"], *(["PUT", "DELETE"] if protocols else [])}
            query = self._document["parameters"] | entry.get("parameters", {})
            for path in dict.fromkeys(paths):
                pattern = re.sub(r"\\\{[^}]*\\\}", "[^/:?]+", re.escape("/" + path))
                upload = "upload/" in path
                for verb in verbs if upload else [entry["httpMethod"]]:
                    yield Method(
                        entry["id"], re.compile(pattern), verb, query,
                        None if upload else entry.get("request"), entry.get("response"),
                    )  # fmt: skip
        for resource in node.get("resources", {}).values():
            yield from self._found(resource)

    def method(self, verb: str, path: str) -> Method | None:
        """The method that a request calls."""
        return next((m for m in self._methods if m.verb == verb and m.path.fullmatch(path)), None)

    def faults(self, value: Any, schema: Json, place: str) -> Iterator[str]:
        """Name what in `value` is not as `schema` says."""
        if "$ref" in schema:
            yield from self.faults(value, self._schemas[schema["$ref"]], place)
            return
        kind = schema.get("type", "any")
        if kind == "object" and isinstance(value, dict):
            yield from self._object_faults(value, schema, place)
        elif kind == "array" and isinstance(value, list):
            for number, entry in enumerate(value):
                yield from self.faults(entry, schema["items"], f"{place}[{number}]")
        elif not _is(kind, value):
            yield f"{place} is {value!r}, not of type {kind}"
        elif "enum" in schema and value not in schema["enum"]:
            yield f"{place} is {value!r}, none of {schema['enum']}"
        elif schema.get("format") in ("int64", "uint64") and not re.fullmatch(r"-?\d+", str(value)):
            yield f"{place} is {value!r}, no number in a text"

    def _object_faults(self, value: Json, schema: Json, place: str) -> Iterator[str]:
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, inner in value.items():
            if name in known:
                yield from self.faults(inner, known[name], f"{place}.{name}")
            elif others is not None:
                yield from self.faults(inner, others, f"{place}.{name}")
            else:
                yield f"{place}.{name} is not part of it: {inner!r}"


def _is(kind: str, value: Any) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool)
    return {
        "any": True,
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": number,
        "number": number or isinstance(value, float),
    }.get(kind, False)


@functools.cache
def api(name: str) -> Api:
    """The API of this name."""
    return Api(name)


@dataclass
class Judge:
    """Checks each exchange of a session. `roots`: which API answers, and its path, by the start of a URL.

    What a request lacks is only told where it was accepted: tests send wrong ones on purpose.
    """

    roots: Mapping[str, tuple[str, str]]
    faults: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def watch(self, session: requests.Session) -> requests.Session:
        """Check all that `session` sends and receives."""
        session.hooks["response"].append(self.check)
        return session

    def check(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Check one exchange."""
        sent = response.request
        for root, (name, path) in self.roots.items():
            if str(sent.url).startswith(root):
                rest = path + str(sent.url).removeprefix(root)
                found = _exchange_faults(self, api(name), rest, response)
                faults = [fault for fault in found if not CLIENTS_OWN.fullmatch(fault)]
                self.faults += [f"{sent.method} {rest}: {fault}" for fault in faults]
                return
        self.faults.append(f"{sent.method} {sent.url}: no API of ours")


def _exchange_faults(judge: Judge, found: Api, rest: str, response: requests.Response) -> Iterator[str]:
    sent, url = response.request, urlsplit(rest)
    if url.path.startswith("/batch"):
        return
    method = found.method(str(sent.method), url.path)
    if method is None:
        yield from [] if response.status_code >= 400 else ["no method of the API"]
        return
    judge.seen.add(method.id)
    json_answer = "json" in response.headers.get("Content-Type", "")
    if response.status_code < 400:
        yield from _request_faults(found, method, sent, url.query)
        if method.response and json_answer and "alt=media" not in url.query:
            yield from found.faults(response.json(), method.response, "response")
    elif json_answer:
        yield from _error_faults(response, "errors" if found.lists_errors else "code")


def _request_faults(found: Api, method: Method, sent: requests.PreparedRequest, query: str) -> Iterator[str]:
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in given.items():
        if name not in method.parameters and name not in UPLOAD_ID:
            yield f"unknown parameter {name}={value}"
    for name, parameter in method.parameters.items():
        if parameter.get("required") and parameter.get("location") == "query" and name not in given:
            yield f"parameter {name} is missing"
    if method.request and sent.body and "json" in sent.headers.get("Content-Type", ""):
        body = json.loads(sent.body)
        if sent.method == "PATCH":
            body = _given(body)  # null takes a field away
        yield from found.faults(body, method.request, "request")


def _given(value: Any) -> Any:
    """`value` without nulls."""
    if isinstance(value, dict):
        return {name: _given(inner) for name, inner in value.items() if inner is not None}
    return value


def _error_faults(response: requests.Response, needed: str) -> Iterator[str]:
    error = response.json().get("error", {})
    if error.get("code") != response.status_code or not error.get("message") or not error.get(needed):
        yield f"the error body of {response.status_code} is {error!r}"
