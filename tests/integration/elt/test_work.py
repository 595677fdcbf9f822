"""What each stage asks of its servers for one month, counted: no request too many, no byte twice.

Compared with `work.yaml` beside this file. Fewer is progress and goes there; more has to be worth it.
"""

import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import sqlglot
import taxi
import yaml
from emulators import Emulators

from elt.formats import raw_file as readers
from elt.stages import STAGES
from stacks import Stack

pytestmark = pytest.mark.emulators
FIGURES = yaml.safe_load(Path(__file__).with_name("work.yaml").read_text())
ROWS = 50_000
# Requests and answers have heads, and objects have metadata.
AROUND = 20_000


class Count:
    """Requests by server, the bytes of bodies to and from the one for storage, and BigQuery's jobs."""

    def __init__(self, servers: dict[str, str]) -> None:
        self._servers = servers
        self.requests: collections.Counter[str] = collections.Counter()
        self.jobs: list[str] = []
        self.tables = 0
        self.sent = self.received = 0

    def add(self, request: requests.PreparedRequest, response: requests.Response) -> None:
        name = self._servers[urlsplit(str(request.url)).netloc]
        self.requests[name] += 1
        if name == "storage":
            self.sent += int(request.headers.get("Content-Length") or 0)
            self.received += int(response.headers.get("Content-Length") or 0)
        elif request.method == "POST" and urlsplit(str(request.url)).path.endswith(JOBS):
            job = json.loads(request.body)
            self.jobs.append(what(job))
            self.tables += tables_read(job)


JOBS = ("/queries", "/jobs")


def statements(job: dict[str, Any]) -> list[Any]:
    """What a job runs; nothing of one that loads a file."""
    configured = job.get("configuration", {})
    if "load" in configured:
        return []
    return sqlglot.parse(configured.get("query", job)["query"], read="bigquery")


def tables_read(job: dict[str, Any]) -> int:
    """How many tables BigQuery bills a job for: of each statement those that it reads, or one."""
    found = 0
    for statement in statements(job):
        if statement.find(sqlglot.exp.Table):
            read = statement.expression if isinstance(statement, sqlglot.exp.Insert) else statement
            found += max(1, len({table.name for table in read.find_all(sqlglot.exp.Table)}))
    return found


def what(job: dict[str, Any]) -> str:
    """The statements of a job, each with the table that it changes or reads first: `INSERT load_log`."""
    if not (run := statements(job)):
        return "load"
    found = []
    for statement in run:
        if table := statement.find(sqlglot.exp.Table):
            name = "staging" if table.name.startswith("staging") else table.name
            found.append(f"{statement.key.upper()} {name}")
    return ", ".join(found)


def published(month: str) -> bytes:
    return taxi.parquet(taxi.trips(month, ROWS))


@pytest.fixture
def counts(
    stack: Stack, dsn: str, emulators: Emulators, faulty_source, monkeypatch
) -> Iterator[dict[str, Count]]:
    """A month's work, counted, after another month has made tables and views."""
    stack = stack.with_postgres(dsn)
    for month in ("2024-01", "2024-02"):
        faulty_source.serve(taxi.YELLOW.format(month), published(month))
    for stage in STAGES:
        stack.run(stage)
    urls = {
        "source": faulty_source.url,
        "storage": emulators.storage_url,
        "bigquery": emulators.bigquery_url,
    }
    servers = {urlsplit(str(url)).netloc: name for name, url in urls.items()}
    send, current = requests.adapters.HTTPAdapter.send, [Count(servers)]

    def counted(self, request, *what, **how):
        response = send(self, request, *what, **how)
        current[0].add(request, response)
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", counted)
    found = {}
    for stage in STAGES:
        found[stage] = current[0] = Count(servers)
        stack.run(stage, month="2024-02")
    yield found


def test_a_month_takes_no_more_than_it_did(counts: dict[str, Count]) -> None:
    assert {stage: dict(count.requests) for stage, count in counts.items()} == FIGURES["requests"]
    assert {stage: count.jobs for stage, count in counts.items()} == FIGURES["jobs"]
    assert {stage: count.tables for stage, count in counts.items()} == FIGURES["tables read"]
    size = len(published("2024-02"))
    assert size > 10 * AROUND
    assert size <= counts["download"].sent <= size + AROUND
    for stage in ("conform", "postgres"):
        assert size <= counts[stage].received <= size + AROUND, f"{stage} reads the raw file once"
    for stage in ("stage", "audit", "publish", "mart"):
        assert counts[stage].received + counts[stage].sent <= AROUND, f"{stage} leaves bytes to the warehouse"


def test_batches_are_as_small_as_memory_wants_them(tmp_path: Path) -> None:
    from elt.catalogue.registry import DATASETS
    from elt.stores.postgres import PIECE_ROWS

    (tmp_path / "trips.parquet").write_bytes(published("2024-01"))
    with (tmp_path / "trips.parquet").open("rb") as file:
        raw = readers.open_raw(file, "trips.parquet", DATASETS["yellow"], {})
        largest = max(batch.num_rows for batch in raw.batches)
    assert largest <= FIGURES["rows at once"]["read"]
    assert FIGURES["rows at once"]["encoded for Postgres"] >= PIECE_ROWS
