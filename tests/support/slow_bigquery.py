"""BigQuery's REST API as far as tables and jobs go, with jobs that take as long as a test says.

A type that Google's own client talks to over HTTP: nothing in the product is patched. Queries are not run: a
test says what a SELECT answers (`answer`), how long a job takes (`seconds`, or until `finish`), and how it
ends.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
_PATH = re.compile(r"(?:/bigquery/v2)?/projects/([^/]+)/(.+)")


@dataclass
class Job:
    """A job as it was submitted. `seconds` is None for one that runs until the test ends it."""

    id: str
    project: str
    configuration: Json
    location: str
    seconds: float | None
    started: float = field(default_factory=time.monotonic)
    error: Json | None = None
    polls: int = 0

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        over = self.seconds is not None and time.monotonic() - self.started >= self.seconds
        return over or self.error is not None

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels it was submitted with."""
        return self.configuration.get("labels", {})

    def resource(self) -> Json:
        """As jobs.get describes it."""
        kind = "LOAD" if "load" in self.configuration else "QUERY"
        now = str(int(time.time() * 1000))
        status: Json = {"state": "DONE" if self.done else "RUNNING"}
        if self.error is not None:
            status |= {"errorResult": self.error, "errors": [self.error]}
        return {
            "kind": "bigquery#job",
            "id": f"{self.project}:{self.location}.{self.id}",
            "jobReference": {"projectId": self.project, "jobId": self.id, "location": self.location},
            "configuration": {"jobType": kind, **self.configuration},
            "status": status,
            "statistics": {"creationTime": now, "startTime": now, **({"endTime": now} if self.done else {})},
        }


@dataclass
class Answer:
    """What a SELECT that matches `pattern` returns: columns (name, type) and rows as texts."""

    pattern: str
    columns: list[tuple[str, str]]
    rows: list[list[str | None]]


class SlowBigQuery(ThreadingHTTPServer):
    """One project space: its jobs by id, its tables by `dataset.table`, who asked, and what for."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: dict[str, Job] = {}
        self.tables: dict[str, Json] = {}
        self.answers: list[Answer] = []
        # How long a job takes, by its configuration; None: until `finish`.
        self.seconds: Callable[[Json], float | None] = lambda _: 0.0
        # What a table is that nobody created, by its id.
        self.invent: Callable[[str], Json | None] = lambda _: None
        # Called whenever somebody asks for a job's state.
        self.polled: Callable[[Job], None] = lambda _: None
        self.requests: list[tuple[str, str]] = []
        self.authorizations: set[str | None] = set()
        self.lock = threading.RLock()
        self._connections = set[socket.socket]()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the connections that clients keep open, too: each is a thread that reads from it."""
        super().server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """Its base URL, as BIGQUERY_EMULATOR_HOST takes it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, pattern: str, columns: list[tuple[str, str]], *rows: list[str | None]) -> None:
        """Say what SELECTs that contain `pattern` (a regular expression) return."""
        self.answers.insert(0, Answer(pattern, columns, list(rows)))

    def running(self) -> list[Job]:
        """Jobs that have not ended."""
        with self.lock:
            return [job for job in self.jobs.values() if not job.done]

    def finish(self, job_id: str | None = None) -> None:
        """End a job well, or all that run."""
        for job in [self.jobs[job_id]] if job_id else self.running():
            job.seconds = 0.0

    def fail(self, job_id: str, reason: str, message: str) -> None:
        """End a job with an error, as BigQuery (or somebody in its console) does."""
        self.jobs[job_id].error = {"reason": reason, "message": message}

    def cancel(self, job_id: str) -> None:
        """Cancel a job as BigQuery's console does."""
        if not self.jobs[job_id].done:
            self.fail(job_id, "stopped", "Job execution was cancelled: User requested cancellation")


class _Handler(BaseHTTPRequestHandler):
    server: SlowBigQuery
    protocol_version = "HTTP/1.1"
    # Keep-alive with Nagle's algorithm costs 40 ms a request.
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(size)
        parts = urlsplit(self.path)
        if parts.path == "/token":
            self._answer_with(200, _token(content))
            return
        body = json.loads(content) if size else {}
        found = _PATH.fullmatch(unquote(parts.path))
        with self.server.lock:
            self.server.requests.append((self.command, parts.path))
            self.server.authorizations.add(self.headers.get("Authorization"))
            if found is None:
                status, answer = _error(404, "notFound", f"no such path: {parts.path}")
            else:
                status, answer = self._route(found[1], found[2].split("/"), body)
        self._answer_with(status, answer)

    def _answer_with(self, status: int, answer: Json | None) -> None:
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _handle  # noqa: N815

    def _route(self, project: str, path: list[str], body: Json) -> tuple[int, Json | None]:
        match self.command, path:
            case "POST", ["jobs"]:
                return self._submit(project, body)
            case "GET", ["jobs", job_id]:
                return self._job(job_id)
            case "POST", ["jobs", job_id, "cancel"]:
                self.server.cancel(job_id)
                return 200, {"job": self.server.jobs[job_id].resource()}
            case "POST", ["queries"]:
                return self._query(project, body)
            case "GET", ["queries", job_id]:
                return self._results(job_id)
            case "POST", ["datasets", dataset, "tables"]:
                return self._create(dataset, body)
            case "GET", ["datasets", dataset, "tables"]:
                return 200, self._list(dataset)
            case "GET", ["datasets", dataset, "tables", table]:
                return self._table(project, dataset, table)
            case "DELETE", ["datasets", dataset, "tables", table]:
                found = self.server.tables.pop(f"{dataset}.{table}", None)
                return (204, None) if found else _error(404, "notFound", f"Not found: Table {table}")
        return _error(404, "notFound", f"{self.command} {'/'.join(path)}")

    def _submit(self, project: str, body: Json) -> tuple[int, Json]:
        reference, configuration = body["jobReference"], body["configuration"]
        job_id = reference["jobId"]
        if job_id in self.server.jobs:
            return _error(409, "duplicate", f"Already Exists: Job {project}:{job_id}")
        seconds = self.server.seconds(configuration)
        job = Job(job_id, project, configuration, reference.get("location", "US"), seconds)
        self.server.jobs[job_id] = job
        return 200, job.resource()

    def _job(self, job_id: str) -> tuple[int, Json]:
        job = self.server.jobs.get(job_id)
        if job is None:
            return _error(404, "notFound", f"Not found: Job {job_id}")
        job.polls += 1
        self.server.polled(job)
        return 200, job.resource()

    def _results(self, job_id: str) -> tuple[int, Json]:
        job = self.server.jobs.get(job_id)
        if job is None:
            return _error(404, "notFound", f"Not found: Job {job_id}")
        reference = job.resource()["jobReference"]
        if not job.done:
            return 200, {"jobReference": reference, "jobComplete": False}
        if job.error is not None:
            return _error(400, job.error["reason"], job.error["message"])
        return 200, self._answer(job)

    def _query(self, project: str, body: Json) -> tuple[int, Json]:
        """A SELECT whose answer comes at once, without a job of its own to look for."""
        job_id = f"query-{len(self.server.jobs)}"
        job = Job(
            job_id, project, {"query": {"query": body["query"]}, "labels": body.get("labels", {})}, "US", 0.0
        )
        return 200, self._answer(job)

    def _answer(self, job: Job) -> Json:
        text = job.configuration.get("query", {}).get("query", "")
        answer = next((a for a in self.server.answers if re.search(a.pattern, text)), Answer("", [], []))
        fields = [{"name": name, "type": kind} for name, kind in answer.columns]
        rows = [{"f": [{"v": value} for value in row]} for row in answer.rows]
        return {
            "jobReference": job.resource()["jobReference"],
            "jobComplete": True,
            "schema": {"fields": fields},
            "totalRows": str(len(rows)),
            "rows": rows,
        }

    def _create(self, dataset: str, body: Json) -> tuple[int, Json]:
        name = f"{dataset}.{body['tableReference']['tableId']}"
        if name in self.server.tables:
            return _error(409, "duplicate", f"Already Exists: Table {name}")
        self.server.tables[name] = {**body, "creationTime": str(int(time.time() * 1000))}
        return 200, self.server.tables[name]

    def _list(self, dataset: str) -> Json:
        mine = [table for name, table in self.server.tables.items() if name.startswith(f"{dataset}.")]
        return {
            "tables": [{"tableReference": table["tableReference"]} for table in mine],
            "totalItems": len(mine),
        }

    def _table(self, project: str, dataset: str, table: str) -> tuple[int, Json]:
        name = f"{dataset}.{table}"
        if name not in self.server.tables and (invented := self.server.invent(table)) is not None:
            reference = {"projectId": project, "datasetId": dataset, "tableId": table}
            self.server.tables[name] = {
                "creationTime": "1700000000000",
                **invented,
                "tableReference": reference,
            }
        found = self.server.tables.get(name)
        return (200, found) if found else _error(404, "notFound", f"Not found: Table {name}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _token(request: bytes) -> Json:
    """What Google's token server answers a service account: a token that says whose it is."""
    assertion = parse_qs(request.decode())["assertion"][0].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(assertion + "=="))
    return {"access_token": f"token-of-{claims['iss']}", "expires_in": 3600, "token_type": "Bearer"}


def service_account_key(email: str, token_server: str) -> Json:
    """A key of its own for a service account whose tokens come from such a server."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "of-the-key",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": email,
        "token_uri": f"{token_server}/token",
    }


def _error(status: int, reason: str, message: str) -> tuple[int, Json]:
    detail = {"reason": reason, "message": message, "domain": "global"}
    return status, {"error": {"code": status, "message": message, "errors": [detail], "status": reason}}


@contextmanager
def running() -> Iterator[SlowBigQuery]:
    """Run one on a free port."""
    with SlowBigQuery() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
