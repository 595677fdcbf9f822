"""Jobs with ids of our own, against an API that behaves as BigQuery is documented to, told what to do."""

import datetime as dt
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth.credentials import AnonymousCredentials

from elt.catalogue.registry import DATASETS
from elt.errors import PermanentError, TableNotFoundError, TransientError
from elt.settings import Settings
from elt.stores import bigquery
from elt.stores.bigquery import BigQuery, Parameter, Work
from elt.warehouse.provision import ensure_lake_table

ABORTED = {
    "reason": "invalidQuery",
    "message": "Transaction is aborted due to concurrent update against t",
}
BROKEN = {"reason": "invalidQuery", "message": "Syntax error\nat line 1"}
COLUMNS = {
    "n": "INTEGER", "x": "FLOAT", "b": "BOOLEAN", "d": "DATE", "t": "TIMESTAMP", "l": "DATETIME",
    "m": "NUMERIC", "s": "STRING",
}  # fmt: skip
VALUES = ("1", "0.5", "true", "2024-01-31", "1000001", "2024-01-31T23:59:59.5", "0.10", "a")
ROWS = [
    {"f": [{"v": value} for value in VALUES]},
    {"f": [{"v": None}] * len(COLUMNS)},
]
REASONS = {
    400: "invalid", 403: "accessDenied", 404: "notFound", 429: "rateLimitExceeded", 503: "backendError",
}  # fmt: skip
WORK = Work("taxiway-publish", {"app": "taxiway", "step": "publish"})
# Every kind of job there is.
JOBS = {
    "execute": lambda bq: bq.execute("", {}, WORK),
    "load": lambda bq: bq.load("t", "gs://b/o", [], WORK),
    "rows": lambda bq: bq.rows("", {}, {}),
}


class FakeJobs:
    """Jobs end as `outcomes` say (None is success); for so many `polls` they are still running.

    The first requests are answered by `statuses`, where there are any; 200 is for the jobs themselves.
    """

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
            status["errors"] = [job["outcome"]]
        return {key: job[key] for key in ("jobReference", "configuration")} | {"status": status}

    def results(self, job_id: str, asked: dict) -> tuple[int, dict]:
        """One page of the two rows that every query has."""
        status = self.state(job_id)["status"]
        if failure := status.get("errorResult"):
            return 400, error(400, failure["reason"], failure["message"])
        if status["state"] == "RUNNING":
            return 200, {"jobReference": self.jobs[job_id]["jobReference"], "jobComplete": False}
        first, size = int(asked.get("pageToken", 0)), int(asked.get("maxResults", 1))
        page = {"rows": ROWS[first : first + size]} | (
            {"pageToken": str(first + size)} if first + size < len(ROWS) else {}
        )
        schema = {"fields": [{"name": name, "type": kind} for name, kind in COLUMNS.items()]}
        return 200, {"jobComplete": True, "totalRows": str(len(ROWS)), "schema": schema, **page}

    def answer(self, method: str, url: str, body: dict) -> tuple[int, dict]:
        parts = urlsplit(url)
        self.requests.append((method, parts.path))
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return status, error(status, REASONS[status], "hiccup")
        if method == "POST":
            return self.insert(body)
        collection, job_id = parts.path.split("/")[-2:]
        if job_id not in self.jobs:
            return 404, error(404, "notFound", f"Not found: Job {job_id}")
        if collection == "queries":
            return self.results(job_id, dict(parse_qsl(parts.query)))
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
            body = self.rfile.read(size)
            sent = json.loads(body) if self.headers["Content-Type"] == "application/json" else {}
            status, answer = fake.answer(self.command, self.path, sent)
            content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield fake
        server.shutdown()


def connect(api: FakeJobs) -> BigQuery:
    return BigQuery(Settings("p", "b", "d", "EU", bigquery_endpoint=api.url))


def execute(api: FakeJobs, work: Work = WORK) -> None:
    with connect(api) as bq:
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


def test_a_load_says_what_into_what(api):
    fields = [{"name": "a", "type": "INTEGER", "description": "Of a test."}]
    with connect(api) as bq:
        bq.load("t", "gs://b/o", fields, WORK)
    job = api.jobs["taxiway-publish-0"]
    assert job["jobReference"] == {"projectId": "p", "jobId": "taxiway-publish-0", "location": "EU"}
    assert job["configuration"]["labels"] == {"app": "taxiway", "step": "publish"}
    load = job["configuration"]["load"]
    assert (load["sourceUris"], load["sourceFormat"]) == (["gs://b/o"], "PARQUET")
    assert load["destinationTable"] == {"projectId": "p", "datasetId": "d", "tableId": "t"}
    assert [field | fields[0] for field in load["schema"]["fields"]] == load["schema"]["fields"]
    assert (load["createDisposition"], load["writeDisposition"]) == ("CREATE_NEVER", "WRITE_EMPTY")


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (dt.date(2024, 1, 31), "2024-01-31"),
        (dt.datetime.fromisoformat("2024-01-31T01:02:03"), "2024-01-31T01:02:03"),
        (dt.datetime.fromisoformat("2024-01-31T01:00+01:00"), "2024-01-31 00:00:00.000000+00:00"),
        (True, "true"), (0.5, "0.5"), (7, "7"), ("a", "a"), (None, None),
    ],
)  # fmt: skip
def test_a_parameter_is_written_as_bigquery_reads_it(value, sent):
    assert Parameter("T", value).as_json("p")["parameterValue"] == {"value": sent}


def test_a_parameter_may_be_null(api):
    with connect(api) as bq:
        bq.execute("SELECT @s", {"s": Parameter("STRING", None)}, WORK)
    (sent,) = api.jobs["taxiway-publish-0"]["configuration"]["query"]["queryParameters"]
    assert sent == {"name": "s", "parameterType": {"type": "STRING"}, "parameterValue": {"value": None}}


@pytest.mark.parametrize("page", [1, 10])
def test_rows_are_read_to_the_last_page_with_their_types(api, monkeypatch, page):
    monkeypatch.setattr(bigquery, "PAGE", page)
    with connect(api) as bq:
        first, second = bq.rows("SELECT", {}, {"app": "taxiway"})
    assert first == {
        "n": 1, "x": 0.5, "b": True, "d": dt.date(2024, 1, 31),
        "t": dt.datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=dt.UTC),
        "l": dt.datetime.fromisoformat("2024-01-31T23:59:59.500"), "m": Decimal("0.10"), "s": "a",
    }  # fmt: skip
    assert str(first["m"]) == "0.10"
    assert second == dict.fromkeys(COLUMNS)
    (job,) = api.jobs.values()
    assert job["configuration"]["labels"] == {"app": "taxiway"}
    assert job["configuration"]["query"]["maximumBytesBilled"] == str(100 * 2**30)


@pytest.mark.parametrize("do", JOBS)
def test_every_job_is_of_the_stacks_project_and_place(api, do):
    with connect(api) as bq:
        JOBS[do](bq)
    (job,) = api.jobs.values()
    assert job["jobReference"]["projectId"] == "p"
    assert job["jobReference"]["location"] == "EU"
    asked = [path for method, path in api.requests if method == "GET"]
    assert all("/projects/p/" in path for path in asked)


@pytest.mark.parametrize("do", JOBS)
def test_a_job_is_waited_for(api, do):
    api.polls = 3
    with connect(api) as bq:
        JOBS[do](bq)
    (job,) = api.jobs.values()
    assert job["polls"] < 0, "it was asked for until it was done"
    assert [method for method, _ in api.requests].count("POST") == 1


def test_work_that_was_done_is_found_and_not_done_again(api):
    execute(api)
    execute(api)
    assert list(api.jobs) == ["taxiway-publish-0"]
    asked = [path for _, path in api.requests if "/queries/" in path]
    assert asked == [], "results go after a day, with the emulator sooner: nobody needs them here"


def test_work_that_is_under_way_is_found_and_waited_for(api):
    api.polls = 5
    body = {"jobReference": {"jobId": "taxiway-publish-0"}, "configuration": {"query": {}}}
    api.insert(body)
    execute(api)
    assert list(api.jobs) == ["taxiway-publish-0"]
    assert api.requests[-1][0] == "GET"


def test_work_that_is_there_and_cannot_be_seen_yet_is_waited_for(api):
    execute(api)
    api.statuses = [200, 404, 404]
    execute(api)
    assert list(api.jobs) == ["taxiway-publish-0"]


def test_work_that_failed_before_is_done_under_the_next_number(api):
    api.outcomes = [BROKEN]
    with pytest.raises(PermanentError):
        execute(api)
    execute(api)
    assert list(api.jobs) == ["taxiway-publish-0", "taxiway-publish-1"]


@pytest.mark.parametrize("polls", [0, 1, 2])
def test_an_aborted_transaction_is_tried_again(api, polls):
    api.polls = polls
    api.outcomes = [ABORTED, ABORTED]
    execute(api)
    assert list(api.jobs) == [f"taxiway-publish-{n}" for n in range(3)]


def test_a_transaction_that_is_always_aborted_is_trouble_in_the_end(api):
    api.outcomes = [ABORTED] * 100
    with pytest.raises(TransientError, match="aborted due to concurrent update"):
        execute(api)
    assert len(api.jobs) == bigquery.TRIES


@pytest.mark.parametrize("polls", [0, 1, 2])
def test_a_wrong_statement_is_refused_in_one_line(api, polls):
    api.polls = polls
    api.outcomes = [BROKEN]
    with pytest.raises(PermanentError, match=r"^BigQuery: job taxiway-publish: Syntax error$"):
        execute(api)


@pytest.mark.parametrize("reason", ["backendError", "rateLimitExceeded", "jobInternalError"])
def test_an_inner_error_of_bigquery_is_trouble(api, reason):
    api.outcomes = [{"reason": reason, "message": "try later"}]
    with pytest.raises(TransientError, match="try later"):
        execute(api)


def test_a_table_that_is_missing_is_told_apart(api):
    api.outcomes = [{"reason": "notFound", "message": "Not found: Table p:d.t"}]
    with pytest.raises(TableNotFoundError, match=r"Table p:d.t"):
        execute(api)


@pytest.mark.parametrize("do", JOBS)
@pytest.mark.parametrize("statuses", [[503], [200, 503], [200, 200, 503]])
def test_a_hiccup_of_the_api_is_not_noticed(api, do, statuses):
    api.polls, api.statuses = 2, statuses
    with connect(api) as bq:
        JOBS[do](bq)
    assert (len(api.jobs), api.statuses) == (1, [])


def test_nor_is_one_between_the_pages(api, monkeypatch):
    monkeypatch.setattr(bigquery, "PAGE", 1)
    api.statuses = [200, 503, 200, 503]
    with connect(api) as bq:
        assert len(bq.rows("SELECT", {}, {})) == 2
    assert api.statuses == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PermanentError),
        (403, PermanentError),
        (404, TableNotFoundError),
        (429, TransientError),
        (503, TransientError),
    ],
)
def test_an_answer_is_permanent_or_worth_another_try(api, monkeypatch, status, kind):
    monkeypatch.setattr(bigquery, "RETRY", bigquery.RETRY.with_timeout(0.1))
    api.statuses = [status] * 1000
    with pytest.raises(kind, match=r"^BigQuery: job taxiway-publish: hiccup$") as failure:
        execute(api)
    assert isinstance(failure.value, TransientError) == (kind is TransientError)


@pytest.mark.parametrize("do", JOBS)
def test_a_job_of_which_nothing_is_heard_any_more_is_trouble(api, monkeypatch, do):
    monkeypatch.setattr(bigquery, "RETRY", bigquery.RETRY.with_timeout(0.1))
    api.polls, api.statuses = 1, [200, *[503] * 1000]
    with pytest.raises(TransientError, match=r"^BigQuery"), connect(api) as bq:
        JOBS[do](bq)
    assert len(api.jobs) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(403, PermanentError), (404, TableNotFoundError), (503, TransientError)]
)
def test_a_table_that_cannot_be_made_is_named(api, monkeypatch, status, kind):
    monkeypatch.setattr(bigquery, "RETRY", bigquery.RETRY.with_timeout(0.1))
    api.answer = lambda *_: (status, error(status, "", "no"))
    with pytest.raises(kind, match=r"^BigQuery: table t: no$"), connect(api) as bq:
        bq.create("t", {"schema": {"fields": []}})


def test_what_is_there_is_not_made_and_what_is_gone_not_dropped(api):
    answers = [(409, error(409, "duplicate", "there")), (404, error(404, "notFound", "gone"))]
    api.answer = lambda *_: answers.pop(0)
    with connect(api) as bq:
        bq.create("t", {"description": "new"})
        bq.drop("t")
    assert answers == []


@pytest.fixture
def tables(api, monkeypatch) -> list[tuple[str, str, dict]]:
    """What is sent to an API that lets everything be created, and takes anybody for somebody."""
    sent = []

    def create(method, path, body):
        sent.append((method, path, body))
        return 200, body

    api.answer = create
    monkeypatch.setattr(bigquery, "GOOGLE", api.url)
    monkeypatch.setattr(bigquery.google.auth, "default", lambda **_: (AnonymousCredentials(), "p"))
    return sent


def test_bigquery_itself_is_given_a_table_over_the_lakes_files(tables):
    settings = Settings("p", "bucket", "d", "EU")
    with BigQuery(settings) as bq:
        ensure_lake_table(bq, DATASETS["yellow"], settings)
    ((method, path, body),) = tables
    assert (method, path.split("?")[0]) == ("POST", "/bigquery/v2/projects/p/datasets/d/tables")
    assert body["tableReference"]["tableId"] == "yellow_trips_lake"
    reading = body["externalDataConfiguration"]
    assert (reading["sourceFormat"], reading["sourceUris"]) == ("PARQUET", ["gs://bucket/typed/yellow/*"])
    assert reading["hivePartitioningOptions"] == {
        "mode": "CUSTOM",
        "sourceUriPrefix": "gs://bucket/typed/yellow/{year:INTEGER}/{month:INTEGER}",
    }
    assert {field["name"] for field in body["schema"]["fields"]} >= {"vendor_id", "total_amount"}


def test_an_emulator_which_would_find_it_empty_is_not(api, tables):
    settings = Settings("p", "bucket", "d", "EU", bigquery_endpoint=api.url)
    with BigQuery(settings) as bq:
        ensure_lake_table(bq, DATASETS["yellow"], settings)
    assert tables == []


def test_a_load_does_not_depend_on_the_table_over_the_files(api, tables, caplog):
    api.answer = lambda *_: (403, error(403, "accessDenied", "no"))
    settings = Settings("p", "bucket", "d", "EU")
    with BigQuery(settings) as bq:
        ensure_lake_table(bq, DATASETS["yellow"], settings)
    assert "no table over the lake's files of yellow: BigQuery: table yellow_trips_lake: no" in caplog.text


def test_an_answer_that_is_no_json_is_told_in_one_line(api, monkeypatch):
    monkeypatch.setattr(bigquery, "RETRY", bigquery.RETRY.with_timeout(0.1))
    api.answer = lambda *_: (502, "<html>\nBad Gateway\n</html>")
    with pytest.raises(TransientError, match=r"^BigQuery: job taxiway-publish: it answers 502$"):
        execute(api)


def test_only_the_settings_say_where_bigquery_is(api, monkeypatch):
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    execute(api)
    assert list(api.jobs) == ["taxiway-publish-0"]


def test_without_an_emulator_there_must_be_credentials(api, monkeypatch, tmp_path):
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", api.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(PermanentError, match=r"^BigQuery: no credentials \(.*none.json.*\)\.$"):
        BigQuery(Settings("p", "b", "d", "EU"))
    assert api.requests == []


def test_a_quota_that_is_used_up_is_worth_another_try_though_the_answer_is_403(api):
    api.answer = lambda *_: (403, error(403, "quotaExceeded", "no"))
    with pytest.raises(TransientError):
        execute(api)


def test_two_pieces_of_work_have_two_jobs(api):
    for number in itertools.islice(itertools.count(), 2):
        execute(api, Work(f"taxiway-{number}", {}))
    assert list(api.jobs) == ["taxiway-0-0", "taxiway-1-0"]


def test_a_server_that_never_says_a_word_is_trouble(api, monkeypatch):
    monkeypatch.setattr(bigquery, "TIMEOUT", (0.1, 0.1))
    monkeypatch.setattr(bigquery, "RETRY", bigquery.RETRY.with_timeout(0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(
            TransientError, match=rf"^BigQuery does not answer \(ReadTimeout at {api.url}\).$"
        ):
            execute(api)


def test_credentials_that_are_not_accepted_are_permanent(api, monkeypatch, tmp_path):
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    account = {"type": "service_account", "client_email": "a@b", "token_uri": f"{api.url}/token"}
    (tmp_path / "key.json").write_text(json.dumps({**account, "private_key": key.decode()}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    monkeypatch.setattr(bigquery, "GOOGLE", api.url)
    api.answer = lambda _, path, *__: (400, {"error": "invalid_grant" if path == "/token" else "?"})
    with (
        pytest.raises(
            PermanentError, match=r"^BigQuery: the credentials are not accepted \(.*invalid_grant.*"
        ),
        BigQuery(Settings("p", "b", "d", "EU")) as bq,
    ):
        bq.execute("SELECT 1", {}, WORK)
