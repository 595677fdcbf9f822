"""Jobs with ids of our own, against an API that behaves as BigQuery is documented to, told what to do."""

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nyc_taxi import bigquery
from nyc_taxi.bigquery import BigQuery, Parameter, Work
from nyc_taxi.errors import Refused, Trouble
from nyc_taxi.rest import Missing
from nyc_taxi.settings import Settings

ABORTED = {
    "reason": "invalidQuery",
    "message": "Transaction is aborted due to concurrent update against t",
}
BROKEN = {"reason": "invalidQuery", "message": "Syntax error\nat line 1"}
WORK = Work("taxiway-publish", {"app": "taxiway", "step": "publish"})


class FakeJobs:
    """Jobs end as `outcomes` say (None is success); for so many `polls` they are still running."""

    def __init__(self) -> None:
        self.url = ""
        self.outcomes: list[dict | None] = []
        self.polls = 0
        self.jobs: dict[str, dict] = {}
        self.requests: list[tuple[str, str]] = []
        self.statuses: list[int] = []

    def insert(self, body: dict) -> tuple[int, dict]:
        job_id = body["jobReference"]["jobId"]
        if job_id in self.jobs:
            return 409, error(409, "duplicate", f"Already Exists: Job {job_id}")
        outcome = self.outcomes.pop(0) if self.outcomes else None
        self.jobs[job_id] = {**body, "outcome": outcome, "polls": self.polls}
        return 200, self.state(job_id)

    def state(self, job_id: str) -> dict:
        job = self.jobs[job_id]
        job["polls"] -= 1
        status = {"state": "RUNNING"} if job["polls"] >= 0 else {"state": "DONE"}
        if job["polls"] < 0 and job["outcome"]:
            status["errorResult"] = job["outcome"]
        return {key: job[key] for key in ("jobReference", "configuration")} | {"status": status}

    def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
        self.requests.append((method, path))
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return status, error(status, "backendError", "hiccup")
        if method == "POST":
            return self.insert(body)
        job_id = path.rsplit("/", 1)[-1].split("?")[0]
        if job_id not in self.jobs:
            return 404, error(404, "notFound", f"Not found: Job {job_id}")
        return 200, self.state(job_id)


def error(status: int, reason: str, message: str) -> dict:
    return {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}


@pytest.fixture
def api(monkeypatch) -> Iterator[FakeJobs]:
    fake = FakeJobs()
    monkeypatch.setattr(bigquery.time, "sleep", lambda _: None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            size = int(self.headers["Content-Length"] or 0)
            status, answer = fake.answer(self.command, self.path, json.loads(self.rfile.read(size) or b"{}"))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield fake
        server.shutdown()


def execute(api: FakeJobs, work: Work = WORK) -> None:
    settings = Settings("p", "b", "d", "EU", bigquery_endpoint=api.url)
    with BigQuery(settings) as bq:
        bq.execute("SELECT @n", {"n": Parameter("INT64", 1)}, work)


def test_a_job_says_where_by_whom_and_how_much_it_may_cost(api):
    execute(api)
    job = api.jobs["taxiway-publish-0"]
    assert job["jobReference"] == {"projectId": "p", "jobId": "taxiway-publish-0", "location": "EU"}
    assert job["configuration"]["labels"] == {"app": "taxiway", "step": "publish"}
    query = job["configuration"]["query"]
    assert (query["maximumBytesBilled"], query["useLegacySql"]) == (str(100 * 2**30), False)
    assert query["queryParameters"] == [
        {"name": "n", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "1"}}
    ]


def test_a_job_is_waited_for(api):
    api.polls = 3
    execute(api)
    assert [method for method, _ in api.requests] == ["POST", "GET", "GET", "GET"]


def test_work_that_was_done_is_found_and_not_done_again(api):
    execute(api)
    execute(api)
    assert list(api.jobs) == ["taxiway-publish-0"]


def test_work_that_is_under_way_is_found_and_waited_for(api):
    api.polls = 5
    body = {"jobReference": {"jobId": "taxiway-publish-0"}, "configuration": {"query": {}}}
    api.insert(body)
    execute(api)
    assert list(api.jobs) == ["taxiway-publish-0"]
    assert api.requests[-1][0] == "GET"


def test_work_that_failed_before_is_done_under_the_next_number(api):
    api.outcomes = [BROKEN]
    with pytest.raises(Refused):
        execute(api)
    execute(api)
    assert list(api.jobs) == ["taxiway-publish-0", "taxiway-publish-1"]


def test_an_aborted_transaction_is_tried_again(api):
    api.outcomes = [ABORTED, ABORTED]
    execute(api)
    assert list(api.jobs) == [f"taxiway-publish-{n}" for n in range(3)]


def test_a_transaction_that_is_always_aborted_is_trouble_in_the_end(api):
    api.outcomes = [ABORTED] * 100
    with pytest.raises(Trouble, match="aborted due to concurrent update"):
        execute(api)
    assert len(api.jobs) == bigquery.TRIES


def test_a_wrong_statement_is_refused_in_one_line(api):
    api.outcomes = [BROKEN]
    with pytest.raises(Refused, match=r"^BigQuery: job taxiway-publish: Syntax error$"):
        execute(api)


@pytest.mark.parametrize("reason", ["backendError", "rateLimitExceeded", "jobInternalError"])
def test_an_inner_error_of_bigquery_is_trouble(api, reason):
    api.outcomes = [{"reason": reason, "message": "try later"}]
    with pytest.raises(Trouble, match="try later"):
        execute(api)


def test_a_table_that_is_missing_is_told_apart(api):
    api.outcomes = [{"reason": "notFound", "message": "Not found: Table p:d.t"}]
    with pytest.raises(Missing, match=r"Table p:d.t"):
        execute(api)


def test_a_hiccup_of_the_api_is_not_noticed(api):
    api.statuses = [503, 200]
    execute(api)
    assert len(api.jobs) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Refused), (403, Refused), (404, Missing), (429, Trouble), (503, Trouble)]
)
def test_an_answer_is_permanent_or_worth_another_try(api, status, kind):
    api.statuses = [status] * 10
    if status in (400, 403):
        api.answer = lambda *_: (status, error(status, "accessDenied", "no"))
    with pytest.raises(kind, match="BigQuery: ") as failure:
        execute(api)
    assert isinstance(failure.value, Trouble) == (kind is Trouble)


def test_a_quota_that_is_used_up_is_worth_another_try_though_the_answer_is_403(api):
    api.answer = lambda *_: (403, error(403, "quotaExceeded", "no"))
    with pytest.raises(Trouble):
        execute(api)


def test_two_pieces_of_work_have_two_jobs(api):
    for number in itertools.islice(itertools.count(), 2):
        execute(api, Work(f"taxiway-{number}", {}))
    assert list(api.jobs) == ["taxiway-0-0", "taxiway-1-0"]
