"""An ASGI application before the library's, which serializes requests and corrects answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from bqemulator.jobs.executor import JOB_RESULTS
from bqemulator.storage.sql_identifiers import quoted_table_ref
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from taxiway.emulators.answers import (
    HEALTH,
    JSON_BYTES,
    Answer,
    HttpError,
    Json,
    error_answer,
    page,
    whole_body,
)
from taxiway.emulators.bigquery.corrections import parameters
from taxiway.emulators.bigquery.kept import Attributes, Expiry, Results

UPLOAD_BYTES = 128 << 20
REPLACED_BY_PUT = (
    "friendlyName", "description", "defaultTableExpirationMs", "defaultPartitionExpirationMs",
)  # fmt: skip
# BigQuery gives a project's members access to its datasets.
DEFAULT_ACCESS = (
    {"role": "WRITER", "specialGroup": "projectWriters"},
    {"role": "OWNER", "specialGroup": "projectOwners"},
    {"role": "READER", "specialGroup": "projectReaders"},
)
DATASET_ITEM = ("kind", "id", "datasetReference", "labels", "friendlyName", "location", "type")
ANONYMOUS = "_bqemu_anonymous"


@dataclass(frozen=True)
class Call:
    """A request with its complete body."""

    scope: Json
    content: bytes

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.scope["method"])

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters."""
        return dict(parse_qsl(self.scope["query_string"].decode()))

    def body(self) -> Json:
        """The JSON object in the body, empty if there is none; the library reports invalid JSON."""
        try:
            found = json.loads(self.content or b"{}")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def with_body(self, body: Json) -> Call:
        """The same with another body."""
        return replace(self, content=json.dumps(body).encode())

    def to(self, path: str, method: str = "GET", **query: Any) -> Call:
        """Another request of the same client."""
        target = {"path": path, "raw_path": path.encode(), "method": method}
        return Call(self.scope | target | {"query_string": urlencode(query).encode()}, b"")


class Front:
    """Passes requests to the library one after the other, in a thread, and corrects its answers.

    BigQuery: requests run concurrently. Library: its handlers share one DuckDB connection without a lock,
    which mixes up results and transactions, and a long query blocks the event loop with its health check.
    With one thread, the second of two concurrent transactions waits, where BigQuery would abort it. Upstream:
    "Concurrent requests share a connection and an event loop".
    """

    def __init__(self, library: Any, context: Any, data: Path) -> None:
        self._library, self._context = library, context
        self._attributes, self._expiry = Attributes(data / "datasets.json"), Expiry(data / "expiry.json")
        self._results = Results(data / "results")
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bigquery")
        self._loop = asyncio.new_event_loop()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        try:
            answer = await self._answered(scope, receive)
        except HttpError as refused:
            answer = error_answer(refused)
        except ClientDisconnect:
            return
        await answer(scope, receive, send)

    async def _answered(self, scope: Any, receive: Any) -> Response:
        if scope["path"] == HEALTH:
            return Answer({"status": "ok", "service": "bigquery"})
        limit = UPLOAD_BYTES if scope["path"].startswith("/upload/") else JSON_BYTES
        call = Call(scope, await whole_body(Request(scope, receive), limit))
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._answer, call)

    def _answer(self, call: Call) -> Response:
        for key in self._expiry.over():
            table = _TABLE.format(*key.split("/"))
            self._library_answer(call.to(table, "DELETE"))
            self._expiry.put(key, None)
        for pattern, handler in ROUTES:
            if match := pattern.fullmatch(call.scope["path"]):
                return handler(self, call, *match.groups())
        return self._library_answer(call)

    def _library_answer(self, call: Call) -> Response:
        """The library's answer."""
        sent: list[Json] = []
        body: list[Json] = [{"type": "http.request", "body": call.content}]

        async def receive() -> Json:
            if not body:
                await asyncio.Event().wait()  # never disconnects
            return body.pop()

        async def send(message: Json) -> None:
            sent.append(message)

        framing = (b"content-length", b"content-encoding", b"transfer-encoding")
        headers = [pair for pair in call.scope["headers"] if pair[0] not in framing]
        headers.append((b"content-length", str(len(call.content)).encode()))
        self._loop.run_until_complete(self._library(call.scope | {"headers": headers}, receive, send))
        content = b"".join(message.get("body", b"") for message in sent[1:])
        answer = Response(content, sent[0]["status"])
        answer.raw_headers = list(sent[0]["headers"])
        return answer

    # Jobs

    def _insert_job(self, call: Call, project: str) -> Response:
        """Run a job.

        BigQuery: a job id runs once, and a job keeps its configuration. Library: it runs the id again, and
        drops labels. Upstream: "jobs.insert: a repeated jobId must be 409 duplicate"; "jobs.get loses
        configuration.labels".
        """
        if call.method != "POST":
            return self._listed(call, "jobs")
        body = call.body()
        job_id = (body.get("jobReference") or {}).get("jobId")
        if job_id and self._context.catalog.get_job(project, job_id):
            raise HttpError(409, f"Already Exists: Job {project}:{job_id}", "duplicate", "ALREADY_EXISTS")
        query = (body.get("configuration") or {}).get("query") or {}
        answer = self._with_parameters(call, query.get("queryParameters"))
        if answer.status_code != 200:
            return answer
        job_id = str(_parsed(answer)["jobReference"]["jobId"])
        job = self._context.catalog.get_job(project, job_id)
        if job is not None:
            configuration = _merged(body.get("configuration") or {}, job.configuration or {})
            self._context.catalog.upsert_job(job.model_copy(update={"configuration": configuration}))
        self._results.keep(job_id)
        return _changed(answer, _job)

    def _upload(self, call: Call, _project: str) -> Response:
        """Load an uploaded file.

        BigQuery: it ignores the content type of the file. Library: it rejects `*/*`, which Google's client
        sends. Upstream: "load_table_from_file is rejected for its Content-Type".
        """
        changed = call.content.replace(b"content-type: */*", b"content-type: application/octet-stream", 1)
        return _changed(self._library_answer(replace(call, content=changed)), _job)

    def _with_parameters(self, call: Call, given: Any) -> Response:
        token = parameters.set(tuple(given or ()))
        try:
            return self._library_answer(call)
        finally:
            parameters.reset(token)

    def _query(self, call: Call, _project: str) -> Response:
        """Run a query and wait for it.

        BigQuery: one that fails is an error. Library: it answers 200, no rows and the errors. Upstream:
        "jobs.query: a failed query must not be 200".
        """
        answer = self._with_parameters(call, call.body().get("queryParameters"))
        if answer.status_code != 200:
            return answer
        found = _parsed(answer)
        self._results.keep(str(found["jobReference"].get("jobId")))
        if errors := found.get("errors"):
            reason = errors[0]["reason"]
            raise HttpError(404 if reason == "notFound" else 400, errors[0]["message"], reason)
        return answer

    def _get_job(self, call: Call, _project: str, job_id: str, _action: str | None) -> Response:
        self._results.recall(job_id)
        return _changed(self._library_answer(call), _job)

    def _get_results(self, call: Call, _project: str, job_id: str) -> Response:
        self._results.recall(job_id)
        return self._library_answer(call)

    def _anonymous(self, call: Call, project: str, table: str, data: str | None) -> Response:
        """Describe or read the anonymous result table of a query.

        BigQuery: every result is such a table. Library: for client-chosen job ids it describes an empty
        table, and it cannot read any. Upstream: "Anonymous result tables: wrong for job ids with dashes, and
        tabledata.list is 404".
        """
        job_id = self._results.job_of(table)
        self._results.recall(job_id)
        if job_id not in JOB_RESULTS:
            raise HttpError(404, f"Not found: Table {project}:{ANONYMOUS}.{table}")
        if data is None:
            found = _parsed(self._library_answer(call.to(_QUERIES.format(project, job_id), maxResults=0)))
            whole = _parsed(self._library_answer(call))
            return Answer(whole | {"numRows": found["totalRows"], "schema": found["schema"]})
        asked = {name: value for name, value in call.query.items() if name in _PAGING}
        found = _parsed(self._library_answer(call.to(_QUERIES.format(project, job_id), **asked)))
        rows = {name: found[name] for name in ("rows", "totalRows", "pageToken") if name in found}
        return Answer({"kind": "bigquery#tableDataList", **rows})

    # Datasets and tables

    def _dataset(self, call: Call, project: str, name: str | None) -> Response:
        """Create, read, change, delete or list datasets.

        BigQuery: new datasets have a default access list; PUT resets missing fields, the access list too; a
        dataset with tables is `resourceInUse`. Library: the access list is missing; PUT keeps missing fields;
        a dataset with tables is `notFound`. Upstream: "datasets.insert without access must return the default
        list"; "datasets.update must replace"; "datasets.delete of a non-empty dataset must be 400
        resourceInUse".
        """
        if name is None and call.method == "GET":
            return self._listed(call, "datasets")
        body = call.body()
        name = name or str((body.get("datasetReference") or {}).get("datasetId"))
        if call.method == "POST":
            call = call.with_body({"access": list(DEFAULT_ACCESS)} | body)
        elif call.method == "PUT":
            everything = call.query.get("updateMode") != "UPDATE_METADATA"
            access = {"access": list(DEFAULT_ACCESS)} if everything else {}
            call = call.with_body(dict.fromkeys(REPLACED_BY_PUT) | {"labels": {}} | access | body)
        elif call.method == "PATCH":
            call = _labels_merged(call, body, self._context.catalog.get_dataset(project, name))
        answer = self._library_answer(call)
        key = f"{project}:{name}"
        if call.method == "DELETE" and b"is not empty" in answer.body:
            raise HttpError(400, f"Dataset {key} is still in use", "resourceInUse")
        if answer.status_code not in (200, 204):
            return answer
        if call.method != "GET":
            self._attributes.remember(call.method, key, body)
        return answer if call.method == "DELETE" else _changed(answer, self._attributes.completed)

    def _listed(self, call: Call, kind: str) -> Response:
        """Return a page of a list.

        BigQuery: lists have page tokens, and entries fewer fields than resources. Library: it truncates at
        `maxResults` without a token, and lists whole datasets. Upstream: "list methods never return
        nextPageToken"; "datasets.list returns fields of datasets.get".
        """
        query = call.query
        every = {name: value for name, value in query.items() if name not in _PAGING} | {
            "maxResults": str(1 << 30)
        }
        answer = self._library_answer(call.to(call.scope["path"], **every))
        if answer.status_code != 200:
            return answer
        found = _parsed(answer)
        entries = {entry["id"]: entry for entry in found.pop(kind, [])}
        if kind == "datasets":
            found.pop("totalItems", None)
            entries = {
                key: {name: entry[name] for name in DATASET_ITEM if name in entry}
                for key, entry in entries.items()
            }
        if kind == "jobs":
            found.pop("totalItems", None)
            entries = {key: _job(entry) for key, entry in entries.items()}
        shown, more = page(entries, query, "maxResults")
        return Answer(found | {kind: shown, **more})

    def _tables(self, call: Call, project: str, dataset: str) -> Response:
        if call.method != "POST":
            return self._listed(call, "tables")
        answer = self._library_answer(call)
        if answer.status_code == 200:
            body = call.body()
            self._expiry.remember(f"{project}/{dataset}/{body['tableReference']['tableId']}", body)
        return answer

    def _table(self, call: Call, project: str, dataset: str, name: str) -> Response:
        """Read, change or delete a table.

        BigQuery: `numRows` is the number of rows. Library: it is the row count of the last load job.
        Upstream: "tables.get: numRows ignores DML".
        """
        key, body = f"{project}/{dataset}/{name}", call.body()
        table = self._context.catalog.get_table(project, dataset, name)
        if call.method == "PATCH":
            call = _labels_merged(call, body, table)
        answer = self._library_answer(call)
        if call.method == "DELETE":
            self._expiry.put(key, None)
        if answer.status_code != 200:
            return answer
        if call.method in ("PATCH", "PUT"):
            self._expiry.remember(key, body)
        facts = {"expirationTime": str(self._expiry.values[key])} if key in self._expiry.values else {}
        if call.method == "GET" and table.table_type == "TABLE":
            counted = f"SELECT count(*) FROM {quoted_table_ref(project, dataset, name)}"  # noqa: S608
            facts["numRows"] = str(self._context.engine.execute(counted).fetchone()[0])
        return _changed(answer, lambda resource: resource | facts)


_TABLE = "/bigquery/v2/projects/{}/datasets/{}/tables/{}"
_QUERIES = "/bigquery/v2/projects/{}/queries/{}"
_PAGING = ("maxResults", "startIndex", "pageToken")
_V2 = r"/bigquery/v2/projects/([^/]+)"
_DATASET = _V2 + r"/datasets/([^/]+)"
ROUTES: tuple[tuple[re.Pattern[str], Callable[..., Response]], ...] = tuple(
    (re.compile(pattern), handler)
    for pattern, handler in (
        (_V2 + r"/jobs", Front._insert_job),
        (_V2 + r"/jobs/([^/]+)(/cancel)?", Front._get_job),
        ("/upload" + _V2 + "/jobs", Front._upload),
        (_V2 + r"/queries", Front._query),
        (_V2 + r"/queries/([^/]+)", Front._get_results),
        (_V2 + rf"/datasets/{ANONYMOUS}/tables/([^/]+)(/data)?", Front._anonymous),
        (_V2 + r"/datasets(?:/([^/]+))?", Front._dataset),
        (_DATASET + r"/tables", Front._tables),
        (_DATASET + r"/tables/([^/]+)", Front._table),
    )
)


def _parsed(answer: Response) -> Json:
    return dict(json.loads(bytes(answer.body)))


def _changed(answer: Response, change: Callable[[Json], Json]) -> Response:
    """The answer with changed JSON, unless it is an error."""
    return Answer(change(_parsed(answer))) if answer.status_code == 200 and answer.body else answer


def _labels_merged(call: Call, body: Json, present: Any) -> Call:
    """The PATCH with all labels that the resource should have afterwards.

    BigQuery: PATCH merges labels, null removes one. Library: it replaces them. Upstream: "patch must merge
    labels".
    """
    if "labels" not in body or present is None:
        return call
    labels = dict(present.labels or {}) | (body["labels"] or {})
    return call.with_body(
        body | {"labels": {name: value for name, value in labels.items() if value is not None}}
    )


def _merged(request: Json, kept: Json) -> Json:
    """The requested configuration with the executor's additions, one level down."""
    result = dict(request)
    for key, value in kept.items():
        inner = result.get(key)
        result[key] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def _job(answer: Json) -> Json:
    """A job, or the answer to its cancellation, without fields that BigQuery does not return.

    Library: it returns two unknown fields, and nulls. Upstream: "Job resources: no
    statistics.query.totalRows, no scriptStatistics.statementCount; leave null parameter values out".
    """
    if isinstance(answer.get("job"), dict):
        return answer | {"job": _job(answer["job"])}
    statistics = dict(answer.get("statistics") or {})
    statistics.pop("scriptStatistics", None)
    if "query" in statistics:
        query = statistics["query"]
        statistics["query"] = {name: value for name, value in query.items() if name != "totalRows"}
    known = {"configuration": _without_nulls(answer.get("configuration") or {}), "statistics": statistics}
    return answer | known


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
