"""An ASGI application in front of the library's: one request at a time, beside the server's own loop."""

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bqemulator.jobs.executor import JOB_RESULTS, JOB_SCHEMAS
from bqemulator.storage.sql_identifiers import quoted_table_ref

from taxiway.emulators.bigquery.datasets import Attributes, created, whole
from taxiway.emulators.bigquery.expiry import Expiry
from taxiway.emulators.serving import google_error

Json = dict[str, Any]
RESULTS_KEPT = 500
JOBS = re.compile(r"(?:/upload)?/bigquery/v2/projects/(?P<project>[^/]+)/jobs")
QUERIES = re.compile(r"/bigquery/v2/projects/[^/]+/queries")
DATASET = re.compile(r"/bigquery/v2/projects/(?P<project>[^/]+)/datasets(?:/(?P<dataset>[^/]+))?")
TABLE = re.compile(DATASET.pattern + r"/tables(?:/(?P<table>[^/]+))?")


class Front:
    """Gap: the library's handlers share one DuckDB connection without a lock.

    Concurrent ones mix results and transactions, and a long one blocks the event loop, health checks
    included. Here they run one after the other in a thread and a loop of their own: BigQuery aborts the
    later of two transactions on one table, this emulator lets it wait.
    """

    def __init__(self, application: Any, context: Any, data: Path) -> None:
        self._application, self._context = application, context
        self._attributes = Attributes(data / "datasets.json")
        self._expiry = Expiry(data / "expiry.json")
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bigquery")
        self._loop = asyncio.new_event_loop()

    async def __call__(self, scope: Json, receive: Any, send: Any) -> None:
        """Answer one request."""
        body = await _whole_body(receive)
        if body is None:
            return
        if scope["path"] == "/healthz":
            answer = Answer(
                200, [(b"content-type", b"application/json")], b'{"status":"ok","service":"bigquery"}'
            )
        else:
            server_loop = asyncio.get_running_loop()
            answer = await server_loop.run_in_executor(self._worker, self._answer, scope, body)
        await answer.send(send)

    def _answer(self, scope: Json, body: bytes) -> "Answer":
        path, method = scope["path"], scope["method"]
        for key in self._expiry.over():
            self._drop(scope, key)
        if method == "POST" and (match := JOBS.fullmatch(path)):
            return self._job(scope, body, match["project"])
        if method == "POST" and QUERIES.fullmatch(path):
            return self._query(scope, body)
        if match := DATASET.fullmatch(path):
            return self._dataset(scope, body, match["project"], match["dataset"])
        if match := TABLE.fullmatch(path):
            return self._table(scope, body, (match["project"], match["dataset"], match["table"]))
        return self._pass(scope, body)

    def _drop(self, scope: Json, key: tuple[str, str, str]) -> None:
        path = "/bigquery/v2/projects/{}/datasets/{}/tables/{}".format(*key)
        request = {"path": path, "raw_path": path.encode(), "query_string": b"", "method": "DELETE"}
        self._pass(scope | request, b"")
        self._expiry.forget(key)

    def _pass(self, scope: Json, body: bytes) -> "Answer":
        return self._loop.run_until_complete(_call(self._application, scope, body))

    def _job(self, scope: Json, body: bytes, project: str) -> "Answer":
        """Gap: the library runs a job id a second time, and forgets labels once it has answered."""
        request = _parsed(body)
        job_id = (request.get("jobReference") or {}).get("jobId")
        if job_id and self._context.catalog.get_job(project, job_id):
            message = f"Already Exists: Job {project}:{job_id}"
            return Answer.error(google_error(409, message, "duplicate", "ALREADY_EXISTS"))
        answer = self._pass(scope, body)
        _forget_results()
        if job_id and answer.status == 200 and (job := self._context.catalog.get_job(project, job_id)):
            configuration = _merged(request.get("configuration") or {}, job.configuration or {})
            self._context.catalog.upsert_job(job.model_copy(update={"configuration": configuration}))
        return answer

    def _query(self, scope: Json, body: bytes) -> "Answer":
        """Gap: the library answers 200 and no rows where a synchronous query has failed."""
        answer = self._pass(scope, body)
        _forget_results()
        errors = json.loads(answer.body).get("errors") if answer.status == 200 else None
        if not errors:
            return answer
        reason = errors[0]["reason"]
        return Answer.error(google_error(404 if reason == "notFound" else 400, errors[0]["message"], reason))

    def _dataset(self, scope: Json, body: bytes, project: str, dataset: str | None) -> "Answer":
        method, request = scope["method"], _parsed(body)
        if method == "POST":
            body = _json(created(request))
        if method in ("PUT", "PATCH"):
            present = self._context.catalog.get_dataset(project, dataset)
            body = _json(whole(method, request, present))
        name = dataset or (request.get("datasetReference") or {}).get("datasetId")
        answer = self._dataset_deleted_well(self._pass(scope, body), method, f"{project}:{name}")
        if answer.status == 200 and method in ("POST", "PUT", "PATCH"):
            self._attributes.remember(method, f"{project}:{name}", request)
        return answer.replaced(self._attributes.completed) if answer.status == 200 else answer

    def _table(self, scope: Json, body: bytes, key: tuple[str, str, str | None]) -> "Answer":
        """Gap: the library's numRows is that of the last load job, whatever happened since."""
        project, dataset, name = key
        if name is None:
            return self._tables(scope, body, project, dataset)
        table = self._context.catalog.get_table(project, dataset, name)
        if scope["method"] == "PATCH":
            body = _json(whole("PATCH", _parsed(body), table))
        answer = self._pass(scope, body)
        if scope["method"] == "DELETE":
            self._expiry.forget((project, dataset, name))
        if scope["method"] != "GET" or answer.status != 200 or table.table_type != "TABLE":
            return answer
        reference = quoted_table_ref(project, dataset, name)
        counted = self._context.engine.execute(f"SELECT count(*) FROM {reference}").fetchone()  # noqa: S608
        facts = self._expiry.completed((project, dataset, name), {"numRows": str(counted[0])})
        return answer.replaced(lambda resource: resource | facts)

    def _tables(self, scope: Json, body: bytes, project: str, dataset: str) -> "Answer":
        answer = self._pass(scope, body)
        if scope["method"] == "POST" and answer.status == 200:
            request = _parsed(body)
            self._expiry.remember((project, dataset, request["tableReference"]["tableId"]), request)
        return answer

    def _dataset_deleted_well(self, answer: "Answer", method: str, key: str) -> "Answer":
        """Gap: the library answers 404 for a dataset that is there, but not empty."""
        if method == "DELETE" and answer.status == 204:
            self._attributes.forget(key)
        if method == "DELETE" and b"is not empty" in answer.body:
            return Answer.error(google_error(400, f"Dataset {key} is still in use", "resourceInUse"))
        return answer


class Answer:
    """A whole HTTP answer."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.body = status, body
        self.headers = [pair for pair in headers if pair[0].lower() != b"content-length"]

    @classmethod
    def error(cls, body: Json) -> "Answer":
        """Return Google's error body with its status."""
        return cls(body["error"]["code"], [(b"content-type", b"application/json")], _json(body))

    def replaced(self, change: Any) -> "Answer":
        """Return this answer with its JSON changed."""
        return Answer(self.status, self.headers, _json(change(json.loads(self.body))))

    async def send(self, send: Any) -> None:
        """Send it."""
        headers = [*self.headers, (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


async def _whole_body(receive: Any) -> bytes | None:
    """Return the request's body; None where the client went away in the middle of it."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _call(application: Any, scope: Json, body: bytes) -> Answer:
    """Return what `application` answers to a request whose body is at hand."""
    pending: list[Json] = [{"type": "http.request", "body": body}]
    sent: list[Json] = []

    async def receive() -> Json:
        if not pending:
            await asyncio.Event().wait()  # the client stays until it is answered
        return pending.pop()

    async def send(message: Json) -> None:
        sent.append(message)

    length = (b"content-length", str(len(body)).encode())
    headers = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
    await application(scope | {"headers": [*headers, length]}, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], sent[0]["headers"], content)


def _forget_results() -> None:
    """Gap: the library keeps the rows of every query in memory for ever."""
    while len(JOB_RESULTS) > RESULTS_KEPT:
        oldest = next(iter(JOB_RESULTS))
        JOB_RESULTS.pop(oldest)
        JOB_SCHEMAS.pop(oldest, None)


def _parsed(body: bytes) -> Json:
    """Return a JSON body; one that is none, such as an upload's, is the library's to judge."""
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _json(content: Json) -> bytes:
    return json.dumps(content).encode()


def _merged(request: Json, kept: Json) -> Json:
    """Return the configuration as requested, with what the executor added one level down."""
    result = dict(request)
    for key, value in kept.items():
        inner = result.get(key)
        result[key] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
