"""The warehouse service as a process: what only shows when it is killed or kept busy."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from emulators import Emulators, Service

# About ten seconds of one core.
LONG = """SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 60000)) AS a, UNNEST(GENERATE_ARRAY(1, 60000)) AS b
WHERE MOD(a * b, 7) = 1"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A warehouse service of the test's own, to be killed."""
    options = ("--data", str(tmp_path / "bigquery"), "--lake-root", str(tmp_path / "lake"))
    with Service("bigquery", tmp_path, options) as running:
        yield running.wait_until_healthy()


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement in a project of its own; return its rows as text."""
    body = {"query": statement, "useLegacySql": False}
    answer = requests.post(f"{url}/bigquery/v2/projects/p1/queries", json=body, timeout=30).json()
    assert "errors" not in answer, answer
    return [tuple(cell["v"] for cell in row["f"]) for row in answer.get("rows", [])]


def test_a_transaction_cut_short_by_a_kill_never_was(service: Service) -> None:
    """Gap: the library's transactions are backup copies; a kill leaves the deletion and loses the rest."""
    create_tables(service.url)
    script = f"""BEGIN TRANSACTION; DELETE FROM ds.t WHERE TRUE; INSERT INTO ds.log (a) SELECT 1;
        INSERT INTO ds.t (a) {LONG}; COMMIT TRANSACTION;"""
    in_the_middle_of(service, script, service.kill)
    service.start().wait_until_healthy()
    assert query(service.url, "SELECT a FROM ds.t") == [("1",)]
    assert query(service.url, "SELECT COUNT(*) FROM ds.log") == [("0",)]


def test_a_long_query_does_not_keep_the_health_check_waiting(service: Service) -> None:
    """Gap: the library runs statements on the event loop, and looks dead meanwhile."""
    create_tables(service.url)

    def check() -> None:
        started = time.monotonic()
        assert requests.get(f"{service.url}/healthz", timeout=5).ok
        assert time.monotonic() - started < 1
        service.kill()

    in_the_middle_of(service, LONG, check)


def create_tables(url: str) -> None:
    datasets = f"{url}/bigquery/v2/projects/p1/datasets"
    requests.post(datasets, json={"datasetReference": {"datasetId": "ds"}}, timeout=10)
    query(url, "CREATE TABLE ds.t (a INT64)")
    query(url, "CREATE TABLE ds.log (a INT64)")
    query(url, "INSERT INTO ds.t (a) SELECT 1")


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


def test_attributes_of_a_dataset_survive_a_kill(service: Service) -> None:
    """Gap: the library drops them; they lie in a file beside its database."""
    datasets = f"{service.url}/bigquery/v2/projects/p1/datasets"
    body = {"datasetReference": {"datasetId": "ds"}, "maxTimeTravelHours": "48", "labels": {"a": "1"}}
    requests.post(datasets, json=body, timeout=10)
    service.kill()
    service.start().wait_until_healthy()
    got = requests.get(f"{datasets}/ds", timeout=10).json()
    assert (got["maxTimeTravelHours"], got["labels"]) == ("48", {"a": "1"})
    requests.delete(f"{datasets}/ds", timeout=10)
    requests.post(datasets, json={"datasetReference": {"datasetId": "ds"}}, timeout=10)
    assert requests.get(f"{datasets}/ds", timeout=10).json()["maxTimeTravelHours"] == "168"


def test_geography_works_without_a_download(emulators: Emulators) -> None:
    """Gap: the library fetches DuckDB's spatial extension from the network, at each start."""
    assert query(emulators.bigquery_url, "SELECT ST_ASTEXT(ST_GEOGPOINT(1, 2))") == [("POINT (1 2)",)]


def test_extensions_stay_out_of_the_users_home(emulators: Emulators) -> None:
    links = (emulators.folder / "bigquery" / ".duckdb").rglob("*.duckdb_extension")
    assert {link.name for link in links if link.exists()} == {"spatial.duckdb_extension", "avro.duckdb_extension"}


def test_it_stops_when_told(service: Service) -> None:
    """Gap: the web server took SIGTERM for itself and the database was not closed."""
    assert service.stop() == 0
    assert "bqemulator.stop" in service.log()
