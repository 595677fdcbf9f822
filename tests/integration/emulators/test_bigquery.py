"""The warehouse service as a process: what only shows when it is killed or kept busy."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from emulators import Service
from repository import REPOSITORY

pytestmark = pytest.mark.emulators
# About ten seconds of one core.
LONG = """SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 60000)) AS a, UNNEST(GENERATE_ARRAY(1, 60000)) AS b
WHERE MOD(a * b, 7) = 1"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A warehouse service of the module's own, to be killed and started again."""
    folder = tmp_path_factory.mktemp("bigquery")
    options = ("--data", str(folder / "bigquery"), "--lake-root", str(folder / "lake"), "--grpc-port", "0")
    with Service("bigquery", folder, options) as running:
        yield running.wait_until_healthy()


@pytest.fixture
def dataset(service: Service) -> Iterator[str]:
    """A dataset with a table of one row, and an empty one; its URL."""
    datasets = f"{service.url}/bigquery/v2/projects/p1/datasets"
    body = {"datasetReference": {"datasetId": "ds"}, "maxTimeTravelHours": "48", "labels": {"a": "1"}}
    requests.post(datasets, json=body, timeout=10)
    query(service.url, "CREATE TABLE ds.t (a INT64)")
    query(service.url, "CREATE TABLE ds.log (a INT64)")
    query(service.url, "INSERT INTO ds.t (a) SELECT 1")
    yield f"{datasets}/ds"
    requests.delete(f"{datasets}/ds", params={"deleteContents": "true"}, timeout=10)


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement in a project of its own; return its rows as text."""
    body = {"query": statement, "useLegacySql": False}
    answer = requests.post(f"{url}/bigquery/v2/projects/p1/queries", json=body, timeout=30).json()
    assert "errors" not in answer, answer
    return [tuple(cell["v"] for cell in row["f"]) for row in answer.get("rows", [])]


def test_a_transaction_cut_short_by_a_kill_never_was(service: Service, dataset: str) -> None:
    """Gap: the library's transactions are backup copies; a kill leaves the deletion and loses the rest."""
    script = f"""BEGIN TRANSACTION; DELETE FROM ds.t WHERE TRUE; INSERT INTO ds.log (a) SELECT 1;
        INSERT INTO ds.t (a) {LONG}; COMMIT TRANSACTION;"""
    in_the_middle_of(service, script, service.kill)
    service.start().wait_until_healthy()
    assert query(service.url, "SELECT a FROM ds.t") == [("1",)]
    assert query(service.url, "SELECT COUNT(*) FROM ds.log") == [("0",)]


def test_a_long_query_does_not_keep_the_health_check_waiting(service: Service, dataset: str) -> None:
    """Gap: the library runs statements on the event loop, and looks dead meanwhile."""

    def check() -> None:
        started = time.monotonic()
        assert requests.get(f"{service.url}/healthz", timeout=5).ok
        assert time.monotonic() - started < 1
        service.kill()

    in_the_middle_of(service, LONG, check)
    service.start().wait_until_healthy()


def in_the_middle_of(service: Service, statement: str, act: Any) -> None:
    """Send a long statement and act while it runs."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            query(service.url, statement)
        except requests.RequestException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.6)
    assert thread.is_alive(), "the statement was over too soon"
    act()
    thread.join()
    assert failures, "the statement ended before the kill"


def test_attributes_of_a_dataset_survive_a_kill(service: Service, dataset: str) -> None:
    """Gap: the library drops them; they lie in a file beside its database."""
    service.kill()
    service.start().wait_until_healthy()
    got = requests.get(dataset, timeout=10).json()
    assert (got["maxTimeTravelHours"], got["labels"]) == ("48", {"a": "1"})


def test_a_dataset_made_again_has_none_of_its_old_attributes(service: Service, dataset: str) -> None:
    requests.delete(dataset, params={"deleteContents": "true"}, timeout=10)
    parent, name = dataset.rsplit("/", 1)
    made = requests.post(parent, json={"datasetReference": {"datasetId": name}}, timeout=10).json()
    assert made["maxTimeTravelHours"] == "168"


def test_a_table_goes_when_its_time_is_over_even_if_nobody_was_there(service: Service, dataset: str) -> None:
    """Gap: the library drops the time, and what a killed task staged would stay for ever."""
    times = {"soon": time.time() + 1, "later": time.time() + 600}
    for name, when in times.items():
        reference = {"projectId": "p1", "datasetId": "ds", "tableId": name}
        schema = {"fields": [{"name": "a", "type": "INTEGER"}]}
        body = {"tableReference": reference, "schema": schema, "expirationTime": str(int(when * 1000))}
        assert requests.post(f"{dataset}/tables", json=body, timeout=10).ok
    service.kill()
    service.start().wait_until_healthy()
    time.sleep(max(0, times["soon"] - time.time()))
    assert requests.get(f"{dataset}/tables/soon", timeout=10).status_code == 404
    kept = requests.get(f"{dataset}/tables/later", timeout=10).json()
    assert kept["expirationTime"] == str(int(times["later"] * 1000))


def test_a_schema_with_more_columns_adds_them_and_one_with_fewer_is_refused(
    service: Service, dataset: str
) -> None:
    """Gap: the library changes its description of the table alone; dbt's on_schema_change finds no column."""
    fields = [{"name": "a", "type": "INTEGER"}, {"name": "b-1", "type": "STRING"}]
    fields.append(
        {"name": "c", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "d", "type": "DATE"}]}
    )
    for method in ("PATCH", "PUT"):
        changed = requests.request(
            method, f"{dataset}/tables/t", json={"schema": {"fields": fields}}, timeout=10
        )
        assert changed.ok, changed.text
    assert query(service.url, "SELECT a, `b-1`, ARRAY_LENGTH(c) AS n FROM ds.t") == [("1", None, None)]
    query(service.url, "INSERT INTO ds.t (a, `b-1`, c) VALUES (2, 'x', [STRUCT(DATE '2024-01-01' AS d)])")
    fields[2]["fields"].append({"name": "e", "type": "RECORD", "fields": [{"name": "f", "type": "DATE"}]})
    for more in ({"name": "g", "type": "STRING"}, {"name": "h", "type": "STRING"}):
        fields[2]["fields"][1]["fields"].append(more)
        assert requests.patch(f"{dataset}/tables/t", json={"schema": {"fields": fields}}, timeout=10).ok
    inner = "SELECT x.d, x.e.f, x.e.g, x.e.h FROM ds.t, UNNEST(c) AS x"
    assert query(service.url, inner) == [("2024-01-01", None, None, None)]
    # A test below kills the service, which then has to read these changes from its log.
    refused = requests.patch(f"{dataset}/tables/t", json={"schema": {"fields": fields[:2]}}, timeout=10)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].endswith("Field c is missing in new schema")


def test_a_view_has_a_schema(service: Service, dataset: str) -> None:
    query(service.url, "CREATE VIEW ds.v AS SELECT a, 'x' AS b, [1.5] AS c FROM ds.t")
    fields = requests.get(f"{dataset}/tables/v", timeout=10).json()["schema"]["fields"]
    assert [(field["name"], field["type"], field["mode"]) for field in fields] == [
        ("a", "INTEGER", "NULLABLE"), ("b", "STRING", "NULLABLE"), ("c", "FLOAT", "REPEATED"),
    ]  # fmt: skip
    query(service.url, "DROP TABLE ds.t")
    assert requests.get(f"{dataset}/tables/v", timeout=10).ok


def test_half_a_request_does_nothing(service: Service, dataset: str) -> None:
    address = urlsplit(service.url)
    body = b'{"query": "DELETE FROM ds.t WHERE TRUE", "useLegacySql": false}'
    with socket.create_connection((address.hostname, address.port)) as client:
        head = "POST /bigquery/v2/projects/p1/queries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: "
        client.sendall(
            f"{head}{len(body) + 1}".encode() + b"\r\nContent-Type: application/json\r\n\r\n" + body
        )
    assert query(service.url, "SELECT a FROM ds.t") == [("1",)]


def test_a_result_can_be_read_after_a_kill(service: Service, dataset: str) -> None:
    """A task that was waiting finds its job by its id, done, and asks for the rows."""
    base = f"{service.url}/bigquery/v2/projects/p1"
    for job_id, sql in (("rows", "SELECT 1 AS x, [1, 2] AS y"), ("changed", "DELETE FROM ds.t WHERE TRUE")):
        body = {"jobReference": {"jobId": job_id}, "configuration": {"query": {"query": sql}}}
        assert requests.post(f"{base}/jobs", json=body, timeout=30).ok
    before = [requests.get(f"{base}/queries/{job_id}", timeout=30).json() for job_id in ("rows", "changed")]
    service.kill()
    service.start().wait_until_healthy()
    again = requests.post(f"{base}/jobs", json=body, timeout=30)
    assert (again.status_code, again.json()["error"]["errors"][0]["reason"]) == (409, "duplicate")
    assert requests.get(f"{base}/jobs/rows", timeout=30).json()["status"] == {"state": "DONE"}
    after = [requests.get(f"{base}/queries/{job_id}", timeout=30).json() for job_id in ("rows", "changed")]
    assert after == before
    assert [row["f"][0]["v"] for row in after[0]["rows"]] == ["1"]


def test_geography_is_refused_in_a_sentence(service: Service, dataset: str) -> None:
    body = {"query": "SELECT ST_ASTEXT(ST_GEOGPOINT(1, 2))", "useLegacySql": False}
    answer = requests.post(f"{service.url}/bigquery/v2/projects/p1/queries", json=body, timeout=30).json()
    assert answer["error"]["message"].endswith("GEOGRAPHY is not part of the emulated warehouse.")


def test_no_home_is_touched(tmp_path: Path) -> None:
    """Gap: DuckDB looks for extensions, and would put them, under the user's home."""
    options = ("--data", str(tmp_path / "b"), "--lake-root", str(tmp_path), "--grpc-port", "0")
    (tmp_path / "home").mkdir()
    with Service("bigquery", tmp_path, options, environment={"HOME": str(tmp_path / "home")}) as running:
        running.wait_until_healthy()
        query(running.url, "SELECT 1")
    assert list((tmp_path / "home").iterdir()) == []


HOOKS = """
import airflow_local_settings
from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
hook = BigQueryHook(location="US", use_legacy_sql=False)
query = {"query": {"query": "SELECT 1 AS x", "useLegacySql": False}}
job = hook.insert_job(configuration=query, job_id="by-hook-1", location="US")
print("rows", [row.x for row in job.result()])
print("found", hook.get_job(job_id="by-hook-1", location="US").state)
print("done", hook.poll_job_complete(job_id="by-hook-1", location="US"))
hook.cancel_job(job_id="by-hook-1", location="US")
print("records", hook.get_records("SELECT 2 AS y"))
print("results", hook.get_query_results(job_id="by-hook-1", location="US"))
print("schema", hook.get_schema(dataset_id="ds", table_id="t", project_id="p1")["fields"][0]["name"])
try:
    hook.insert_job(configuration=query, job_id="by-hook-1", location="US")
except Exception as error:
    print("again", type(error).__name__)
"""


def test_airflows_hook_runs_finds_and_cancels_jobs(service: Service, dataset: str) -> None:
    connection = {
        "conn_type": "google_cloud_platform",
        "extra": {"project": "p1", "is_anonymous": True},
    }
    environment = {
        **os.environ,
        "BIGQUERY_EMULATOR_HOST": service.url,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "PYTHONPATH": str(REPOSITORY / "plugins"),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run([sys.executable, "-c", HOOKS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.split(" ")[0] in WANTED)
    assert found == WANTED


WANTED = {
    "rows": "[1]",
    "found": "DONE",
    "done": "True",
    "records": "[[2]]",
    "results": "[{'x': 1}]",
    "schema": "a",
    "again": "Conflict",
}


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "b"), "--lake-root", str(tmp_path), "--grpc-port", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = Service("bigquery", tmp_path, options, port=taken.getsockname()[1])
        assert service.start().wait() == 1
    assert "Address already in use" in service.log().splitlines()[-1]
    assert "Traceback" not in service.log()


def test_a_taken_port_of_grpc_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        grpc = str(taken.getsockname()[1])
        options = ("--data", str(tmp_path / "b"), "--lake-root", str(tmp_path), "--grpc-port", grpc)
        service = Service("bigquery", tmp_path, options)
        assert service.start().wait() == 1
    assert f"cannot start: gRPC on 127.0.0.1:{grpc}" in service.log().splitlines()[-1]


def test_a_second_service_does_not_take_the_data_of_the_first(service: Service, tmp_path: Path) -> None:
    data = str(service.folder / "bigquery")
    options = ("--data", data, "--lake-root", str(tmp_path), "--grpc-port", "0")
    second = Service("bigquery", tmp_path, options)
    assert second.start().wait() == 1
    assert "cannot start" in second.log().splitlines()[-1]
    assert "Conflicting lock" in second.log()


def test_a_job_that_is_cancelled_while_it_runs_ends_and_makes_room(service: Service, dataset: str) -> None:
    """It would run for hours, and everybody else would wait."""
    base = f"{service.url}/bigquery/v2/projects/p1"
    rows = "UNNEST(GENERATE_ARRAY(1, 20000))"
    text = f"SELECT COUNT(*) FROM {rows} a, {rows} b, {rows} c WHERE MOD(a * b + c, 7) = 3"
    body = {"jobReference": {"jobId": "endless"}, "configuration": {"query": {"query": text}}}
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(requests.post, f"{base}/jobs", json=body, timeout=120)
        while not sent.done():
            requests.post(f"{base}/jobs/endless/cancel", timeout=120)
    assert "Job execution was cancelled" in sent.result().text
    assert sent.result().status_code < 500, "a client would send it again"
    assert query(service.url, "SELECT 1") == [("1",)]


def test_it_stops_when_told_and_closes_its_database(service: Service) -> None:
    assert service.stop() == 0
    assert not (service.folder / "bigquery" / "bqemulator.duckdb.wal").exists()
