"""The warehouse over Google's own client, against an API in memory that fails as it is told."""

import datetime as dt
import json
import pickle
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import requests
from fake_bigquery import FakeBigQuery
from fake_http import Answer
from fakes import BIGQUERY_RETRY, SETTINGS, FakeClock
from google.auth.exceptions import DefaultCredentialsError, OAuthError, RefreshError, TransportError

from elt.errors import (
    AccessDeniedError,
    JobRunningError,
    NoCredentialsError,
    PermanentError,
    TableNotFoundError,
    TransientError,
)
from elt.stores import bigquery
from elt.stores.bigquery import Parameter, Warehouse, Work

ABORTED = {"reason": "invalidQuery", "message": "Transaction is aborted due to concurrent update against t"}
BROKEN = {"reason": "invalidQuery", "message": "Syntax error\nat line 1"}
STOPPED = {"reason": "stopped", "message": "Job execution was cancelled: User requested cancellation"}
WORK = Work("taxiway-publish", {"app": "taxiway", "step": "publish"})
TABLE = {"schema": {"fields": [{"name": "n", "type": "INTEGER", "description": "A number."}]}}
JOBS_PATH = "/bigquery/v2/projects/p/jobs"


@pytest.fixture
def api() -> FakeBigQuery:
    return FakeBigQuery()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def warehouse(api, clock) -> Warehouse:
    return Warehouse(api.client(), SETTINGS, retry=BIGQUERY_RETRY, clock=clock)


def execute(warehouse: Warehouse, work: Work = WORK) -> None:
    warehouse.execute("SELECT @n", {"n": Parameter("INT64", 1)}, work)


def load(warehouse: Warehouse) -> None:
    warehouse.load("t", "gs://b/o", TABLE["schema"]["fields"], WORK)


def failed(api: FakeBigQuery, count: int, error=BROKEN, work: Work = WORK) -> None:
    """Jobs of some work that an earlier attempt has left behind."""
    for number in range(count):
        reference = {"projectId": "p", "jobId": f"{work.id}-{number}", "location": "EU"}
        job = {"jobReference": reference, "configuration": {"query": {"query": "SELECT 1"}}}
        api.jobs[f"{work.id}-{number}"] = {**job, "error": error, "polls": 0, "hidden": 0}


def posts(api: FakeBigQuery) -> int:
    return [method for method, _ in api.requests].count("POST")


# What a job is


def configuration(api: FakeBigQuery) -> dict[str, Any]:
    """The configuration of the job that was sent, after a check of what every job says."""
    job = api.jobs["taxiway-publish-0"]
    assert job["jobReference"] == {"projectId": "p", "jobId": "taxiway-publish-0", "location": "EU"}
    assert job["configuration"]["labels"] == {"app": "taxiway", "step": "publish"}
    assert job["configuration"]["jobTimeoutMs"] == "3600000"
    return job["configuration"]


def test_a_job_says_where_by_whom_for_how_long_and_how_much_it_may_cost(api, warehouse):
    execute(warehouse)
    query = configuration(api)["query"]
    assert (query["maximumBytesBilled"], query["useLegacySql"]) == (str(100 * 2**30), False)
    assert query["queryParameters"] == [
        {"name": "n", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "1"}}
    ]


def test_a_load_says_what_into_what(api, warehouse):
    api.outcomes = [None]
    api.storage.objects["b"] = {}
    with pytest.raises(TableNotFoundError):
        load(warehouse)
    said = configuration(api)["load"]
    assert (said["sourceUris"], said["sourceFormat"]) == (["gs://b/o"], "PARQUET")
    assert said["destinationTable"] == {"projectId": "p", "datasetId": "d", "tableId": "t"}
    assert said["schema"]["fields"][0].items() >= TABLE["schema"]["fields"][0].items()
    assert (said["createDisposition"], said["writeDisposition"]) == ("CREATE_NEVER", "WRITE_EMPTY")


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        ("DATE", dt.date(2024, 1, 31), "2024-01-31"),
        ("TIMESTAMP", dt.datetime.fromisoformat("2024-01-31T01:00+01:00"), "2024-01-31 00:00:00+00:00"),
        ("BOOL", True, "true"), ("FLOAT64", 0.5, 0.5), ("INT64", 7, "7"), ("STRING", "a", "a"),
        ("STRING", None, None), ("INT64", None, None),
    ],
)  # fmt: skip
def test_a_parameter_is_written_as_bigquery_reads_it(api, warehouse, kind, value, sent):
    warehouse.query("SELECT 1", {"p": Parameter(kind, value)}, {})
    (said,) = api.queries[0]["queryParameters"]
    assert said == {"name": "p", "parameterType": {"type": kind}, "parameterValue": {"value": sent}}


def test_whoever_wants_to_show_a_job_hears_of_it_when_it_is_submitted(api):
    heard = []

    def submitted(*job):
        heard.append((*job, len(api.requests)))

    api.polls = 3
    execute(Warehouse(api.client(), SETTINGS, retry=BIGQUERY_RETRY, submitted=submitted, clock=FakeClock()))
    assert heard == [("p", "EU", "taxiway-publish-0", 1)], "before it has ended"


# Each job once


@pytest.mark.parametrize("polls", [0, 1, 3])
def test_a_job_is_waited_for(api, warehouse, clock, polls):
    api.polls = polls
    execute(warehouse)
    assert api.jobs["taxiway-publish-0"]["polls"] < 0, "it was asked for until it was done"
    assert posts(api) == 1
    assert clock.pauses == pytest.approx([0.1 * 1.5**n for n in range(polls)])


def test_requests_for_a_jobs_state_become_rare(api, warehouse, clock):
    api.polls = 20
    execute(warehouse)
    assert max(clock.pauses) == 2.0


def test_work_that_was_done_is_found_and_not_done_again(api, warehouse):
    execute(warehouse)
    execute(warehouse)
    assert list(api.jobs) == ["taxiway-publish-0"]
    assert not [path for _, path in api.requests if "/queries" in path], "its results are nobody's business"


def test_work_that_is_under_way_is_found_and_waited_for(api, warehouse):
    failed(api, 1, error=None)
    api.jobs["taxiway-publish-0"]["polls"] = 5
    execute(warehouse)
    assert list(api.jobs) == ["taxiway-publish-0"]
    assert api.requests[-1][0] == "GET"


def test_work_that_is_there_and_cannot_be_seen_yet_is_waited_for(api, warehouse):
    failed(api, 1, error=None)
    api.jobs["taxiway-publish-0"]["hidden"] = 2
    execute(warehouse)
    assert list(api.jobs) == ["taxiway-publish-0"]


def test_two_pieces_of_work_have_two_jobs(api, warehouse):
    for number in range(2):
        execute(warehouse, Work(f"taxiway-{number}", {}))
    assert list(api.jobs) == ["taxiway-0-0", "taxiway-1-0"]


def test_work_that_failed_before_is_done_under_the_next_number(api, warehouse):
    api.outcomes = [BROKEN]
    with pytest.raises(PermanentError):
        execute(warehouse)
    execute(warehouse)
    assert list(api.jobs) == ["taxiway-publish-0", "taxiway-publish-1"]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40, 98])
def test_many_failures_before_cost_few_requests(api, warehouse, count):
    failed(api, count)
    execute(warehouse)
    assert api.jobs[f"taxiway-publish-{count}"]["error"] is None
    assert len(api.requests) <= 16


def test_the_latest_of_many_is_found_where_it_has_done_the_work(api, warehouse):
    failed(api, 30)
    api.jobs["taxiway-publish-29"]["error"] = None
    execute(warehouse)
    assert len(api.jobs) == 30


def test_work_that_has_failed_too_often_is_given_up(api, warehouse):
    failed(api, bigquery.NUMBERS)
    with pytest.raises(PermanentError, match=r"job taxiway-publish has failed 100 times.*new run"):
        execute(warehouse)
    assert len(api.jobs) == bigquery.NUMBERS
    assert len(api.requests) < 20


# Other transactions


@pytest.mark.parametrize("polls", [0, 1, 2])
def test_an_aborted_transaction_is_tried_again_later_each_time(api, warehouse, clock, polls):
    api.polls, api.outcomes = polls, [ABORTED, ABORTED]
    execute(warehouse)
    assert list(api.jobs) == [f"taxiway-publish-{n}" for n in range(3)]
    first, second = [pause for pause in clock.pauses if pause not in (0.1, 0.15000000000000002)]
    assert 0.2 <= first <= 0.6
    assert 0.4 <= second <= 1.2


def test_a_transaction_that_is_always_aborted_is_transient_in_the_end(api, warehouse):
    api.outcomes = [ABORTED] * 100
    with pytest.raises(TransientError, match="aborted due to concurrent update"):
        execute(warehouse)
    assert len(api.jobs) == bigquery.CONTENDED_RUNS


def test_a_query_in_the_way_of_a_transaction_is_tried_again_too(api, warehouse):
    api.outcomes = [ABORTED]
    assert warehouse.query("SELECT 1 AS n", {}, {}) == [{"n": 1}]
    assert len(api.queries) == 2


# Patience


@pytest.fixture
def impatient(api, clock) -> Warehouse:
    return Warehouse(api.client(), SETTINGS, retry=BIGQUERY_RETRY, patience=10, clock=clock)


def test_whoever_loses_patience_is_told_which_job_to_wait_for(api, impatient, clock):
    api.polls = 1000
    with pytest.raises(JobRunningError) as running:
        execute(impatient)
    error = pickle.loads(pickle.dumps(running.value))
    assert (error.job_id, error.project, error.location) == ("taxiway-publish-0", "p", "EU")
    assert "taxiway-publish-0 is still running in p" in str(error)
    assert 10 <= clock.now < 13


def test_whoever_comes_back_finds_the_job_that_has_ended(api, impatient):
    api.polls = 1000
    with pytest.raises(JobRunningError):
        execute(impatient)
    api.jobs["taxiway-publish-0"]["polls"] = 0
    api.requests.clear()
    execute(impatient, Work(WORK.id, {}, awaited="taxiway-publish-0"))
    assert api.requests == [("GET", f"{JOBS_PATH}/taxiway-publish-0")]


def test_a_job_that_was_awaited_and_cancelled_says_why_and_is_not_replaced(api, impatient):
    failed(api, 1, error=STOPPED)
    with pytest.raises(PermanentError, match=r"^BigQuery: job taxiway-publish: Job execution was cancelled"):
        execute(impatient, Work(WORK.id, {}, awaited="taxiway-publish-0"))
    assert len(api.jobs) == 1


def test_a_job_that_was_found_running_and_then_fails_says_why(api, warehouse):
    failed(api, 1, error=STOPPED)
    api.jobs["taxiway-publish-0"]["polls"] = 2
    with pytest.raises(PermanentError, match="cancelled"):
        execute(warehouse)
    assert len(api.jobs) == 1


def test_the_job_that_was_awaited_is_of_other_work(api, impatient):
    failed(api, 1)
    execute(impatient, Work(WORK.id, {}, awaited="taxiway-stage-0"))
    assert list(api.jobs) == ["taxiway-publish-0", "taxiway-publish-1"]


def test_an_awaited_job_that_was_aborted_by_another_is_tried_again(api, impatient):
    failed(api, 3, error=ABORTED)
    execute(impatient, Work(WORK.id, {}, awaited="taxiway-publish-2"))
    assert list(api.jobs)[-1] == "taxiway-publish-3"


def test_a_job_that_never_ends_is_given_up_after_its_deadline(api, clock):
    api.polls = 10**6
    settings = replace(SETTINGS, job_seconds=5)
    with pytest.raises(TransientError, match=r"job taxiway-publish-0 has not ended after 30\d s"):
        execute(Warehouse(api.client(), settings, clock=clock))
    assert api.jobs["taxiway-publish-0"]["configuration"]["jobTimeoutMs"] == "5000"


# Rows


def test_rows_are_read_with_their_types_in_one_request(api, warehouse):
    query = """
        SELECT 1 AS n, CAST(0.5 AS FLOAT64) AS x, TRUE AS b, DATE '2024-01-31' AS d,
          TIMESTAMP '1970-01-01 00:00:01.000001+00' AS t, DATETIME '2024-01-31 23:59:59.5' AS l,
          CAST('0.10' AS NUMERIC) AS m, 'a' AS s, CAST(NULL AS INT64) AS nothing
    """
    assert warehouse.query(query, {}, {"app": "taxiway"}) == [
        {
            "n": 1, "x": 0.5, "b": True, "d": dt.date(2024, 1, 31),
            "t": dt.datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=dt.UTC),
            "l": dt.datetime.fromisoformat("2024-01-31T23:59:59.500"), "m": Decimal("0.10"), "s": "a",
            "nothing": None,
        }
    ]  # fmt: skip
    assert api.requests == [("POST", "/bigquery/v2/projects/p/queries")]
    sent = api.queries[0]
    assert (sent["labels"], sent["maximumBytesBilled"]) == ({"app": "taxiway"}, str(100 * 2**30))
    assert (sent["location"], sent["jobTimeoutMs"]) == ("EU", "3600000")


def test_rows_are_read_to_the_last_page(api, warehouse):
    api.page = 2
    found = warehouse.query("SELECT x FROM UNNEST([1, 2, 3, 4, 5]) AS x", {}, {})
    assert [row["x"] for row in found] == [1, 2, 3, 4, 5]


# Tables


def test_tables_are_created_once_described_and_dropped(api, warehouse):
    assert warehouse.tables() == set()
    assert warehouse.table("t") is None
    assert warehouse.create("t", TABLE)["creationTime"]
    assert warehouse.create("t", {**TABLE, "description": "another"}) is None
    assert "description" not in warehouse.table("t")
    assert warehouse.table("t")["schema"]["fields"][0]["description"] == "A number."
    assert warehouse.tables() == {"t"}
    warehouse.drop("t")
    warehouse.drop("t")
    assert warehouse.tables() == set()


def test_a_table_has_its_full_name_in_sql(warehouse):
    assert warehouse.name("t") == "`p.d.t`"


def test_leaving_a_warehouse_closes_its_client(api):
    with Warehouse(api.client(), SETTINGS):
        pass
    assert api.closed


# Errors


@pytest.mark.parametrize("polls", [0, 1, 2])
def test_a_wrong_statement_is_permanent_and_said_in_one_line(api, warehouse, polls):
    api.polls, api.outcomes = polls, [BROKEN]
    with pytest.raises(PermanentError, match=r"^BigQuery: job taxiway-publish: Syntax error$"):
        execute(warehouse)


@pytest.mark.parametrize(
    "reason", ["backendError", "rateLimitExceeded", "jobInternalError", "quotaExceeded", "tableUnavailable"]
)
def test_an_inner_error_of_bigquery_is_transient(api, warehouse, reason):
    api.outcomes = [{"reason": reason, "message": "try later"}]
    with pytest.raises(TransientError, match="try later"):
        execute(warehouse)


@pytest.mark.parametrize("reason", ["stopped", "billingNotEnabled", "responseTooLarge"])
def test_a_job_may_fail_for_good(api, warehouse, reason):
    api.outcomes = [{"reason": reason, "message": "never"}]
    with pytest.raises(PermanentError, match="never"):
        execute(warehouse)


def test_a_table_that_is_missing_is_told_apart(api, warehouse):
    api.outcomes = [{"reason": "notFound", "message": "Not found: Table p:d.t"}]
    with pytest.raises(TableNotFoundError, match=r"Table p:d.t"):
        execute(warehouse)


@pytest.mark.parametrize("faults", [[503], [None, 503], [None, None, 503, 429]])
def test_a_hiccup_of_the_api_is_not_noticed(api, warehouse, faults):
    api.polls, api.faults = 2, list(faults)
    execute(warehouse)
    assert (len(api.jobs), api.faults) == (1, [])


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PermanentError),
        (403, AccessDeniedError),
        (404, TableNotFoundError),
        (408, TransientError),
        (429, TransientError),
        (503, TransientError),
        (504, TransientError),
    ],
)
def test_an_answer_is_permanent_or_worth_another_try(api, warehouse, status, kind):
    api.faults = [status] * 1000
    said = r"access denied \(hiccup\)\. If .*" if kind is AccessDeniedError else "hiccup"
    with pytest.raises(kind, match=rf"^BigQuery: job taxiway-publish: {said}$") as failure:
        execute(warehouse)
    assert type(failure.value) is kind
    with pytest.raises(kind, match=rf"^BigQuery: table t: {said}$"):
        warehouse.create("t", TABLE)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("accessNotConfigured", AccessDeniedError), ("accessDenied", AccessDeniedError),
     ("quotaExceeded", TransientError), ("billingNotEnabled", PermanentError),
     ("policyViolation", PermanentError)],
)  # fmt: skip
def test_what_is_denied_may_be_granted_in_a_minute_unless_no_grant_helps(api, warehouse, reason, kind):
    error = {"code": 403, "message": "no", "errors": [{"reason": reason, "message": "Enable it, wait."}]}
    api.answers[JOBS_PATH] = Answer(403, {"error": error})
    with pytest.raises(kind) as failure:
        execute(warehouse)
    assert type(failure.value) is kind


def test_a_job_that_may_not_read_what_it_loads_is_tried_again_under_another_number(api, warehouse):
    api.outcomes = [{"reason": "accessDenied", "message": "Access Denied: File gs://b/typed/x"}]
    with pytest.raises(AccessDeniedError, match="Access Denied: File"):
        execute(warehouse)
    execute(warehouse)
    assert len(api.jobs) == 2


def test_an_answer_that_is_no_json_is_said_in_one_line(api, warehouse):
    api.answers[JOBS_PATH] = Answer(502, b"<html>\nBad Gateway\n</html>")
    with pytest.raises(TransientError, match=r"^BigQuery: job taxiway-publish: it answers 502$"):
        execute(warehouse)


@pytest.mark.parametrize("fault", [requests.ReadTimeout("slow"), requests.ConnectionError("gone")])
def test_a_server_that_never_says_a_word_is_transient(api, warehouse, fault):
    api.faults = [fault] * 1000
    with pytest.raises(
        TransientError,
        match=rf"^BigQuery does not answer \({type(fault).__name__} at http://bigquery.test\)\.$",
    ):
        execute(warehouse)


def minted(status: int) -> RefreshError:
    """What google-auth raises, whatever IAM Credentials answers."""
    error = {
        "code": status,
        "message": "Permission 'iam.serviceAccounts.getAccessToken' denied",
        "status": "X",
    }
    return RefreshError("Unable to acquire impersonated credentials", json.dumps({"error": error}, indent=2))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (RefreshError("invalid_grant: Account not found"), PermanentError),
        (DefaultCredentialsError("none"), NoCredentialsError),
        (RefreshError("the metadata server is busy", retryable=True), TransientError),
        (TransportError("no route"), TransientError),
        *((minted(status), TransientError) for status in (408, 429, 500, 503, 504)),
        (minted(403), AccessDeniedError),
        (minted(400), PermanentError),
        (RefreshError("Unable to acquire", "<html>502</html>"), TransientError),
        (RefreshError(TransportError("metadata server")), TransientError),
        (OAuthError("Error code server_error", '{"error": "server_error"}'), TransientError),
        (OAuthError("<html>503</html>", "<html>503</html>"), TransientError),
        (OAuthError("Error code invalid_grant", '{"error": "invalid_grant"}'), PermanentError),
    ],
)
def test_one_hiccup_while_a_token_is_minted_is_transient_and_what_is_not_accepted_is_permanent(
    api, warehouse, fault, kind
):
    api.faults = [fault] * 1000
    with pytest.raises(kind, match=r"^BigQuery") as failure:
        execute(warehouse)
    assert type(failure.value) is kind
    assert "\n" not in str(failure.value)


def test_every_request_has_a_time_out(api, warehouse):
    api.polls = 2
    execute(warehouse)
    warehouse.query("SELECT 1", {}, {})
    warehouse.create("t", TABLE)
    warehouse.table("t")
    warehouse.tables()
    warehouse.drop("t")
    api.jobs.clear()
    api.storage.objects["b"] = {}
    with pytest.raises(PermanentError):
        load(warehouse)
    assert {method for method, _ in api.requests} == {"GET", "POST", "DELETE"}
    assert set(api.timeouts) == {bigquery.TIMEOUT}
