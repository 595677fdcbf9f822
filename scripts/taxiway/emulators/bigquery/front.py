"""Routes before the library's application, which serialize requests and correct answers.

Each docstring gives BigQuery's behaviour and the library's; `docs/emulators.md` has titles of issues for its
maintainers. A test in `test_corrections.py` fails as soon as a correction is no longer needed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import sqlglot
from bqemulator.api.routes.jobs import _DESTRUCTIVE_STATEMENT_TYPES
from bqemulator.jobs.executor import JOB_RESULTS, classify_statement_type
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns, duckdb_type_to_bq_field
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taxiway.emulators import answers
from taxiway.emulators.answers import Answer, Application, HttpError, Json, part
from taxiway.emulators.bigquery.corrections import parameters
from taxiway.emulators.bigquery.functions import first_foreign
from taxiway.emulators.bigquery.kept import Kept, Results

UPLOAD_BYTES = 128 << 20
EVERY = ("GET", "POST", "PUT", "PATCH", "DELETE")
FRAMING = ("content-length", "content-encoding", "transfer-encoding")
PAGING = ("maxResults", "startIndex", "pageToken")
V2 = "/bigquery/v2/projects/{project}"
DATASET = V2 + "/datasets/{dataset}"
TABLE = DATASET + "/tables/{table}"
ANONYMOUS = "_bqemu_anonymous"
REPLACED_BY_PUT = (
    "friendlyName", "description", "defaultTableExpirationMs", "defaultPartitionExpirationMs",
)  # fmt: skip
# BigQuery gives a project's members access to its datasets.
DEFAULT_ACCESS = (
    {"role": "WRITER", "specialGroup": "projectWriters"},
    {"role": "OWNER", "specialGroup": "projectOwners"},
    {"role": "READER", "specialGroup": "projectReaders"},
)
DROPPED = (
    "defaultCollation", "defaultEncryptionConfiguration", "defaultRoundingMode", "isCaseInsensitive",
    "maxTimeTravelHours", "resourceTags", "storageBillingModel",
)  # fmt: skip
DATASET_ITEM = ("kind", "id", "datasetReference", "labels", "friendlyName", "location", "type")


@dataclass(frozen=True)
class _Call:
    """A request with its complete body, and the unquoted parts of its path."""

    request: Request
    content: bytes
    parts: dict[str, str]

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query_params)

    def body(self) -> Json:
        return answers.parsed(self.content)


class Front:
    """Passes requests to the library one after the other, in a thread, and corrects its answers.

    BigQuery: requests run concurrently. Library: its handlers share one DuckDB connection without a lock,
    which mixes up results and transactions, and a long query blocks the event loop with its health check.
    With one thread, the second of two concurrent transactions waits, where BigQuery would abort it.
    """

    def __init__(self, library: Any, context: Any, data: Path) -> None:
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(library), base_url="http://127.0.0.1")
        self._context = context
        # Attributes of datasets by `project:dataset`, and milliseconds since 1970 by `project/dataset/table`.
        self._attributes, self._expiry = Kept(data / "datasets.json"), Kept(data / "expiry.json")
        self._results = Results(data / "results")
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bigquery")
        self._loop = asyncio.new_event_loop()
        self._running = ""

    def application(self) -> Application:
        """The service."""
        anonymous = V2 + f"/datasets/{ANONYMOUS}/tables/{{table}}"
        routes = (
            (V2 + "/jobs", self._insert_job, ("POST",)),
            (V2 + "/jobs", self._listed, ("GET",)),
            (V2 + "/jobs/{job}", self._get_job, EVERY),
            (V2 + "/jobs/{job}/cancel", self._cancel, EVERY),
            ("/upload" + V2 + "/jobs", self._upload, EVERY),
            (V2 + "/queries", self._query, ("POST",)),
            (V2 + "/queries/{job}", self._get_results, ("GET",)),
            (anonymous, self._describe_result, ("GET",)),
            (anonymous + "/data", self._read_result, ("GET",)),
            (V2 + "/datasets", self._listed, ("GET",)),
            (V2 + "/datasets", self._dataset, ("POST",)),
            (DATASET, self._dataset, EVERY),
            (DATASET + "/tables", self._listed, ("GET",)),
            (DATASET + "/tables", self._insert_table, ("POST",)),
            (TABLE, self._table, EVERY),
            (DATASET + "/routines", self._routines, ("GET",)),
            ("/{path:path}", self._library, EVERY),
        )
        return Application("bigquery", [self._route(*entry) for entry in routes], None)

    def _route(self, path: str, handler: Callable[[_Call], Any], methods: tuple[str, ...]) -> Route:
        async def endpoint(request: Request) -> Response:
            limit = UPLOAD_BYTES if request.url.path.startswith("/upload/") else answers.JSON_BYTES
            parts = {name: part(request, name) for name in request.path_params}
            call = _Call(request, await answers.whole_body(request, limit), parts)
            loop = asyncio.get_running_loop()
            turn = loop.run_in_executor(self._worker, self._answer, handler, call)
            # Not in its turn, which would come when there is nothing left to be cancelled; and again, since
            # between two statements there is nothing to interrupt.
            while handler == self._cancel and not turn.done():
                if parts["job"] == self._running:
                    self._context.engine.interrupt()
                await asyncio.wait([turn], timeout=0.05)
            answer = await turn
            if isinstance(answer, dict):
                return Answer(answer)
            headers = {name: value for name, value in answer.headers.items() if name not in FRAMING}
            return Response(answer.content, answer.status_code, headers)

        return Route(path, endpoint, methods=methods)

    def _answer(self, handler: Callable[[_Call], Any], call: _Call) -> Any:
        """The handler's answer, once expired tables are gone.

        BigQuery: it deletes a table at its `expirationTime`. Library: it ignores the field.
        """
        for key, when in list(self._expiry.values.items()):
            if when <= time.time() * 1000:
                project, dataset, table = key.split("/")
                expired = TABLE.format(project=project, dataset=dataset, table=table)
                self._library(call, path=expired, method="DELETE")
                self._expiry.put(key, None)
        return handler(call)

    def _library(
        self, call: _Call, body: Json | None = None, *,
        path: str = "", method: str = "GET", query: Mapping[str, str] | None = None,
    ) -> httpx.Response:  # fmt: skip
        """The library's answer to the request, with another `body` if given, or to a request for `path`."""
        headers = [pair for pair in call.request.headers.raw if pair[0].decode("latin-1") not in FRAMING]
        content = call.content if body is None else json.dumps(body).encode()
        if path:
            sent = self._client.request(method, path, params=query, headers=headers)
        else:
            url = f"{call.request.scope['path']}?{call.request.url.query}"
            sent = self._client.request(call.method, url, content=content, headers=headers)
        return self._loop.run_until_complete(sent)

    # Jobs

    def _insert_job(self, call: _Call) -> Any:
        """Run a job.

        BigQuery: a job id runs once, and a job keeps its configuration. Library: it runs the id again, and
        drops labels.
        """
        project, body = call.parts["project"], call.body()
        configuration = body.get("configuration") or {}
        if configuration.get("dryRun"):
            return self._plan(call, configuration)
        job_id = (body.get("jobReference") or {}).get("jobId")
        if job_id and self._context.catalog.get_job(project, job_id):
            raise HttpError(409, f"Already Exists: Job {project}:{job_id}", "duplicate", "ALREADY_EXISTS")
        self._running = job_id or ""
        try:
            answer = self._run(call, configuration.get("query") or {})
        finally:
            self._running = ""
        if answer.status_code != 200:
            return answer
        job_id = str(answer.json()["jobReference"]["jobId"])
        if (job := self._context.catalog.get_job(project, job_id)) is not None:
            # The executor adds to what was requested, one level down.
            for key, added in (job.configuration or {}).items():
                given = configuration.get(key)
                both = isinstance(given, dict) and isinstance(added, dict)
                configuration = configuration | {key: given | added if both else added}
            self._context.catalog.upsert_job(job.model_copy(update={"configuration": configuration}))
        self._results.keep(job_id)
        return _job(answer)

    def _plan(self, call: _Call, configuration: Json) -> Any:
        """Answer a dry run.

        BigQuery: it judges the statement, names its type, and runs nothing. Library: it runs a script, and
        does not know a set operation, or a query in parentheses, for a query. Of a script only the syntax is
        judged here.
        """
        query = configuration.get("query") or {}
        found = _statement_type(str(query.get("query", "")))
        if not _is_planned(found):
            statistics = {"statementType": found} if found else {}
            return {
                "kind": "bigquery#job",
                "configuration": configuration,
                "jobReference": {"projectId": call.parts["project"]},
                "statistics": {
                    "totalBytesProcessed": "0",
                    "query": {"totalBytesProcessed": "0", **statistics},
                },
                "status": {"state": "DONE"},
            }
        answer = _job(self._run(call, query))
        if isinstance(answer, dict):
            answer["statistics"]["query"]["statementType"] = found
        return answer

    def _run(self, call: _Call, query: Json) -> httpx.Response:
        """Run what the request asks for.

        BigQuery: what it cannot run is the statement's fault, and final. Library: it fails itself, which is
        500, and which Google's clients therefore ask for again for ten minutes.
        """
        _refuse_foreign(str(query.get("query", "")))
        token = parameters.set(tuple(query.get("queryParameters") or ()))
        try:
            return self._library(call)
        except Exception as error:
            logging.getLogger("bigquery").exception("the library failed")
            message = f"The emulated warehouse cannot run this statement: {error}".splitlines()[0]
            raise HttpError(400, message, "invalidQuery") from None
        finally:
            parameters.reset(token)

    def _upload(self, call: _Call) -> Any:
        """Load an uploaded file.

        BigQuery: it ignores the content type of the file. Library: it rejects `*/*`, which Google's client
        sends.
        """
        changed = call.content.replace(b"content-type: */*", b"content-type: application/octet-stream", 1)
        return _job(self._library(_Call(call.request, changed, call.parts)))

    def _query(self, call: _Call) -> Any:
        """Run a query and wait for it.

        BigQuery: one that fails is an error. Library: it answers 200, no rows and the errors; for DDL it adds
        a field that only jobs have.
        """
        if call.body().get("dryRun") and not _is_planned(_statement_type(str(call.body().get("query", "")))):
            raise HttpError(400, "The emulator plans scripts by jobs.insert only.", "invalid")
        answer = self._run(call, call.body())
        if answer.status_code != 200:
            return answer
        found = answer.json()
        self._results.keep(str(found["jobReference"].get("jobId")))
        if errors := found.get("errors"):
            reason = errors[0]["reason"]
            raise HttpError(404 if reason == "notFound" else 400, errors[0]["message"], reason)
        return {name: value for name, value in found.items() if name != "ddlOperationPerformed"}

    def _cancel(self, call: _Call) -> Any:
        """Describe a job that was to be cancelled.

        BigQuery: a running job ends soon. Library: all jobs have ended before it answers; the endpoint has
        interrupted the one that was running.
        """
        return self._get_job(call)

    def _get_job(self, call: _Call) -> Any:
        self._results.recall(call.parts["job"])
        return _job(self._library(call))

    def _get_results(self, call: _Call) -> Any:
        self._results.recall(call.parts["job"])
        return self._library(call)

    def _result(self, call: _Call, query: Mapping[str, str]) -> Json:
        """Rows and schema of the query with this anonymous result table.

        BigQuery: every result is such a table. Library: for client-chosen job ids it describes an empty
        table, and it cannot read any.
        """
        project, table = call.parts["project"], call.parts["table"]
        job_id = self._results.job_of(table)
        self._results.recall(job_id)
        if job_id not in JOB_RESULTS:
            raise HttpError(404, f"Not found: Table {project}:{ANONYMOUS}.{table}")
        answer = self._library(call, path=f"{V2.format(project=project)}/queries/{job_id}", query=query)
        return dict(answer.json())

    def _describe_result(self, call: _Call) -> Any:
        found = self._result(call, {"maxResults": "0"})
        return self._library(call).json() | {"numRows": found["totalRows"], "schema": found["schema"]}

    def _read_result(self, call: _Call) -> Any:
        found = self._result(call, {name: call.query[name] for name in PAGING if name in call.query})
        rows = {name: found[name] for name in ("rows", "totalRows", "pageToken") if name in found}
        return {"kind": "bigquery#tableDataList", **rows}

    # Datasets and tables

    def _dataset(self, call: _Call) -> Any:
        """Create, read, change or delete a dataset.

        BigQuery: new datasets have a default access list; PUT resets missing fields, the access list too; a
        dataset with tables is `resourceInUse`; all attributes are kept. Library: the access list is missing;
        PUT keeps missing fields; a dataset with tables is `notFound`; some attributes are dropped.
        """
        body, project = call.body(), call.parts["project"]
        name = call.parts.get("dataset") or str((body.get("datasetReference") or {}).get("datasetId"))
        sent: Json | None = None
        key = f"{project}:{name}"
        if call.method == "POST":
            sent = {"access": list(DEFAULT_ACCESS)} | body
        elif call.method == "PUT":
            everything = call.query.get("updateMode") != "UPDATE_METADATA"
            access = {"access": list(DEFAULT_ACCESS)} if everything else {}
            sent = dict.fromkeys(REPLACED_BY_PUT) | {"labels": {}} | access | body
        elif call.method == "PATCH":
            sent = _with_all_labels(body, self._context.catalog.get_dataset(project, name))
        answer = self._library(call, sent)
        if call.method == "DELETE" and "is not empty" in answer.text:
            raise HttpError(400, f"Dataset {key} is still in use", "resourceInUse")
        if answer.is_error:
            return answer
        if call.method != "GET":
            before = self._attributes.values.get(key, {}) if call.method == "PATCH" else {}
            kept = before | {name: body[name] for name in DROPPED if name in body}
            self._attributes.put(key, {name: value for name, value in kept.items() if value is not None})
        return answer if call.method == "DELETE" else answer.json() | self._attributes.values.get(key, {})

    def _listed(self, call: _Call) -> Any:
        """Return a page of a list.

        BigQuery: lists have page tokens, and entries fewer fields than resources. Library: it truncates at
        `maxResults` without a token, and lists whole datasets.
        """
        path = call.request.scope["path"]
        everything = {name: value for name, value in call.query.items() if name not in PAGING}
        answer = self._library(call, path=path, query=everything | {"maxResults": str(1 << 30)})
        if answer.is_error:
            return answer
        found, kind = answer.json(), path.rpartition("/")[2]
        entries = {entry["id"]: entry for entry in found.pop(kind, [])}
        shown, more = answers.page(entries, call.query, "maxResults")
        if kind == "datasets":
            shown = [{name: entry[name] for name in DATASET_ITEM if name in entry} for entry in shown]
        if kind == "jobs":
            shown = [_known(entry) for entry in shown]
        if kind != "tables":
            found.pop("totalItems", None)
        return found | {kind: shown, **more}

    def _routines(self, call: _Call) -> Any:
        """List routines.

        BigQuery: the answer has routines and a page token alone. Library: it adds a kind and a count.
        """
        answer = self._library(call)
        extra = ("kind", "totalItems")
        known = {name: value for name, value in answer.json().items() if name not in extra}
        return answer if answer.is_error else known

    def _insert_table(self, call: _Call) -> Any:
        answer = self._library(call)
        if answer.status_code == 200:
            body, parts = call.body(), call.parts
            self._expire(f"{parts['project']}/{parts['dataset']}/{body['tableReference']['tableId']}", body)
        return answer

    def _expire(self, key: str, body: Json) -> None:
        """Record a table's creation or change; null removes the time, a missing field keeps it."""
        if "expirationTime" in body:
            self._expiry.put(key, int(body["expirationTime"] or 0))

    def _table(self, call: _Call) -> Any:
        """Read, change or delete a table.

        BigQuery: `numRows` is the number of rows; a view has a schema. Library: it is the row count of the
        last load job; a view has none.
        """
        names, body = (call.parts["project"], call.parts["dataset"], call.parts["table"]), call.body()
        key, table = "/".join(names), self._context.catalog.get_table(*names)
        if table is not None and call.method in ("PATCH", "PUT"):
            self._widen(quoted_table_ref(*names), table, body.get("schema") or {})
        answer = self._library(call, _with_all_labels(body, table) if call.method == "PATCH" else None)
        if call.method == "DELETE":
            self._expiry.put(key, None)
        if answer.status_code != 200:
            return answer
        if call.method in ("PATCH", "PUT"):
            self._expire(key, body)
        facts = {"expirationTime": str(self._expiry.values[key])} if key in self._expiry.values else {}
        if call.method == "GET" and table.table_type == "TABLE":
            counted = f"SELECT count(*) FROM {quoted_table_ref(*names)}"  # noqa: S608
            facts["numRows"] = str(self._context.engine.execute(counted).fetchone()[0])
        if call.method == "GET" and table.table_type == "VIEW":
            facts |= self._columns(quoted_table_ref(*names))
        return answer.json() | facts

    def _columns(self, reference: str) -> Json:
        """A view's schema; none where a table that it reads is gone."""
        try:
            described = self._context.engine.execute(f"DESCRIBE {reference}").fetchall()
        except duckdb.Error:
            return {}
        return {"schema": {"fields": [duckdb_type_to_bq_field(name, kind) for name, kind, *_ in described]}}

    def _widen(self, reference: str, table: Any, schema: Json) -> None:
        """Add the columns, and the fields of columns, that a table's new schema has in addition.

        BigQuery: they are there at once, null in every row; a schema that lacks one is refused. Library: it
        changes its description of the table alone.
        """
        fields = schema.get("fields")
        if table.table_type != "TABLE" or not fields:
            return
        present = set(_paths(table.schema_.model_dump()["fields"]))
        wanted = set(_paths(fields))
        if missing := present - wanted:
            said = f"Field {min(missing)} is missing in new schema"
            raise HttpError(400, f"Provided Schema does not match Table {table.table_id}. {said}")
        for name, kind in bq_schema_to_duckdb_columns(fields):
            changed = ""
            if name.lower() not in present:
                changed = f'ADD COLUMN "{name}" {kind}'
            elif any(path.startswith(f"{name.lower()}.") for path in wanted - present):
                # DuckDB can add a field to a struct, too, and then not open the database after a kill.
                changed = f'ALTER COLUMN "{name}" TYPE {kind}'
            if changed:
                self._context.engine.execute(f"ALTER TABLE {reference} {changed}")


def _paths(fields: Iterable[Json], prefix: str = "") -> Iterator[str]:
    """The names of fields at any depth."""
    for field in fields:
        path = f"{prefix}{field['name']}".lower()
        yield path
        yield from _paths(field.get("fields") or [], f"{path}.")


def _with_all_labels(body: Json, present: Any) -> Json | None:
    """A PATCH with all labels that the resource should have afterwards; None if it changes none.

    BigQuery: PATCH merges labels, null removes one. Library: it replaces them.
    """
    if "labels" not in body or present is None:
        return None
    labels = dict(present.labels or {}) | (body["labels"] or {})
    return body | {"labels": {name: value for name, value in labels.items() if value is not None}}


def _is_planned(kind: str) -> bool:
    """Whether the library plans a statement of this type without running it, or runs what is only read."""
    return kind == "SELECT" or kind in _DESTRUCTIVE_STATEMENT_TYPES


def _refuse_foreign(statement: str) -> None:
    """Raise HttpError for a function that BigQuery does not have.

    BigQuery: there is none but its own. Library: whatever its engine knows, or its parser translates, runs.
    """
    # What has no tokens gets the library's own answer.
    with suppress(TokenError):
        if found := first_foreign(statement):
            raise HttpError(400, found, "invalidQuery")


def _statement_type(statement: str) -> str:
    """BigQuery's name for what a statement does; empty for what the library does not know."""
    try:
        trees = [tree for tree in sqlglot.parse(statement, read="bigquery") if tree]
    except ParseError as error:
        about = next(iter(error.errors), {})
        what = str(about.get("description", "it cannot be parsed")).partition(" but got")[0].rstrip(".")
        where = f"[{about.get('line', 1)}:{about.get('col', 1)}]"
        raise HttpError(400, f"Syntax error: {what} at {where}", "invalidQuery") from None
    except TokenError as error:
        raise HttpError(400, f"Syntax error: {error}".splitlines()[0], "invalidQuery") from None
    if len(trees) != 1:
        return "SCRIPT"
    (tree,) = trees
    if isinstance(tree, exp.Alias | exp.Column):
        # The parser takes a word that begins no statement for an expression.
        word = statement.split(maxsplit=1)[0]
        raise HttpError(400, f'Syntax error: Unexpected identifier "{word}" at [1:1]', "invalidQuery")
    return "SELECT" if isinstance(tree, exp.Query) else classify_statement_type(statement)


def _job(answer: httpx.Response) -> Any:
    """The answer with a job, without fields that BigQuery does not return."""
    if answer.status_code != 200 or not answer.content:
        return answer
    found = answer.json()
    cancelled = found.get("job")
    return found | {"job": _known(cancelled)} if isinstance(cancelled, dict) else _known(found)


def _known(job: Json) -> Json:
    """The job without two fields that BigQuery does not have, and with parameters as BigQuery writes them."""
    statistics = dict(job.get("statistics") or {})
    statistics.pop("scriptStatistics", None)
    if "query" in statistics:
        query = statistics["query"]
        statistics["query"] = {name: value for name, value in query.items() if name != "totalRows"}
    known = {"configuration": _with_texts(job.get("configuration") or {}), "statistics": statistics}
    return job | known


def _with_texts(value: Any) -> Any:
    if isinstance(value, dict):
        # Google's client sends some values of parameters as numbers or null.
        return {
            name: str(inner) if name == "value" and isinstance(inner, int | float) else _with_texts(inner)
            for name, inner in value.items()
            if inner is not None
        }
    return [_with_texts(inner) for inner in value] if isinstance(value, list) else value
