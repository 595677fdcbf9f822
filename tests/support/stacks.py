"""A stack of one's own for each test: in the emulated cloud, with a real PostgreSQL where one is wanted."""

import itertools
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
import requests
from emulators import Emulators, free_port
from psycopg.conninfo import conninfo_to_dict

from elt.catalogue import Dataset
from elt.catalogue.registry import dataset
from elt.connections import EnvironmentConnections
from elt.periods import Partition, Period
from elt.stage_request import StageRequest
from elt.stages import run
from elt.stores import postgres
from elt.stores.bigquery import Warehouse
from elt.stores.gcs import Lake
from elt.warehouse import load_log
from taxiway.embedded.postgres import PostgresServer

PASSWORD = "of-a-test"  # a throw-away server on loopback
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Stack:
    """What the variables of an environment describe, and stages that are run there."""

    variables: Mapping[str, str]

    def changed(self, **variables: str) -> "Stack":
        """The same with other variables."""
        return Stack({**self.variables, **variables})

    def with_postgres(self, dsn: str) -> "Stack":
        """The same with a database, given by libpq's connection string."""
        return self.changed(AIRFLOW_CONN_TAXI_POSTGRES=connection(dsn))

    @cached_property
    def connections(self) -> EnvironmentConnections:
        return EnvironmentConnections(self.variables)

    def request(
        self, name: str | Dataset, month: str | None, run_id: str = "run", **how: Any
    ) -> StageRequest:
        entry = dataset(name) if isinstance(name, str) else name
        parsed = Period.parse(month) if month else None
        return StageRequest(entry, parsed, run_id, self.connections.settings, **how)

    def run(
        self,
        stage: str,
        name: str | Dataset = "yellow",
        month: str | None = "2024-01",
        run_id="run",
        **how: Any,
    ) -> dict[str, Any]:
        """Run one stage; what it returns."""
        return run(stage, self.request(name, month, run_id, **how), self.connections)

    def lake(self) -> Lake:
        return self.connections.lake()

    def warehouse(self) -> Warehouse:
        return self.connections.warehouse()

    def select(self, query: str, table: str = "yellow_trips") -> list[dict[str, Any]]:
        """Rows of a query in which TABLE stands for a table."""
        with self.warehouse() as warehouse:
            return warehouse.query(query.replace("TABLE", warehouse.name(table)), {}, {"app": "test"})

    def sql(self, text: str, table: str) -> None:
        """Run a statement in which {} stands for a table."""
        with self.warehouse() as warehouse:
            warehouse.query(text.format(warehouse.name(table)), {}, {"app": "test"})

    def log(self, stage: str, name: str = "yellow", month: str | None = "2024-01") -> load_log.LogRow:
        """The latest row of the load log."""
        with self.warehouse() as warehouse:
            return load_log.latest(warehouse)[Partition.parse(name, month), stage]

    def logs(self) -> load_log.Log:
        """The latest rows of the load log."""
        with self.warehouse() as warehouse:
            return load_log.latest(warehouse)


def connection(dsn: str) -> str:
    """A libpq connection string as an Airflow connection."""
    found = conninfo_to_dict(dsn)
    named = {"host": "host", "port": "port", "login": "user", "password": "password", "schema": "dbname"}
    return json.dumps({"conn_type": "postgres", **{name: found[libpq] for name, libpq in named.items()}})


def database(dsn: str) -> AbstractContextManager[psycopg.Connection]:
    """The library's connection to a database."""
    return postgres.connect(**conninfo_to_dict(dsn))


def new_stack(emulators: Emulators, source: str) -> Stack:
    """A bucket and a dataset that no other test has; no Postgres."""
    name = _new_name()
    bucket = requests.post(
        f"{emulators.storage_url}/storage/v1/b", params={"project": emulators.project}, json={"name": name}
    )
    reference = {"projectId": emulators.project, "datasetId": name}
    made = requests.post(
        f"{emulators.bigquery_url}/bigquery/v2/projects/{emulators.project}/datasets",
        json={"datasetReference": reference, "location": emulators.location},
    )
    assert bucket.ok, bucket.text
    assert made.ok, made.text
    names = {"GCP_GCS_BUCKET": name, "BIGQUERY_DATASET": name}
    return Stack({**emulators.environment(), **names, "AIRFLOW_CONN_TAXI_SOURCE": source_connection(source)})


def source_connection(url: str) -> str:
    """A publisher's address as an Airflow connection."""
    return json.dumps({"conn_type": "http", "host": url})


@contextmanager
def postgres_running(folder: Path) -> Iterator[PostgresServer]:
    """Run a real PostgreSQL."""
    server = PostgresServer(folder / "data", free_port())
    server.initialise(PASSWORD)
    with (folder / "log").open("wb") as log:
        # What a power cut would lose is lost with the test anyway.
        command = [*server.command(), "-c", "fsync=off"]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
    try:
        server.wait_until_ready(PASSWORD)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def new_database(server: PostgresServer) -> str:
    """Connection string of a database that no other test has."""
    name = _new_name()
    with psycopg.connect(server.conninfo("postgres", PASSWORD, "postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} STRATEGY file_copy")  # the fast one without fsync
    return f"host=127.0.0.1 port={server.port} user=postgres password={PASSWORD} dbname={name}"


def _new_name() -> str:
    return f"t{next(_numbers)}x{time.monotonic_ns() % 10**9}"
