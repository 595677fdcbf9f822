"""The warehouse service as a process: what only shows when it is killed or kept busy."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from emulators import Emulators, Service

pytestmark = pytest.mark.emulators
# About ten seconds of one core.
LONG = """SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 60000)) AS a, UNNEST(GENERATE_ARRAY(1, 60000)) AS b
WHERE MOD(a * b, 7) = 1"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A warehouse service of the module's own, to be killed and started again."""
    folder = tmp_path_factory.mktemp("bigquery")
    options = ("--data", str(folder / "bigquery"), "--lake-root", str(folder / "lake"))
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


def test_half_a_request_does_nothing(service: Service, dataset: str) -> None:
    address = urlsplit(service.url)
    body = b'{"query": "DELETE FROM ds.t WHERE TRUE", "useLegacySql": false}'
    with socket.create_connection((address.hostname, address.port)) as client:
        head = f"POST /bigquery/v2/projects/p1/queries HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}"
        client.sendall(head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + body)
    assert query(service.url, "SELECT a FROM ds.t") == [("1",)]


def test_geography_works_without_a_download(emulators: Emulators) -> None:
    """Gap: the library fetches DuckDB's spatial extension from the network, at each start."""
    assert query(emulators.bigquery_url, "SELECT ST_ASTEXT(ST_GEOGPOINT(1, 2))") == [("POINT (1 2)",)]


def test_extensions_stay_out_of_the_users_home(emulators: Emulators) -> None:
    links = (emulators.folder / "bigquery" / ".duckdb").rglob("*.duckdb_extension")
    assert {link.name for link in links if link.exists()} == {
        "spatial.duckdb_extension",
        "avro.duckdb_extension",
    }


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "b"), "--lake-root", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = Service("bigquery", tmp_path, options, port=taken.getsockname()[1])
        assert service.start().wait() == 1
    assert service.log().splitlines()[-1].endswith("Address already in use")
    assert "Traceback" not in service.log()


def test_it_stops_when_told(service: Service) -> None:
    """Gap: the web server took SIGTERM for itself and the database was not closed."""
    assert service.stop() == 0
    assert "bqemulator.stop" in service.log()
