"""Servers of the measurements' own: PostgreSQL as the platform runs it, and the emulated cloud."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import requests
from psycopg import sql

from bench.data import Facts
from bench.section import process
from taxiway.airflow.environment import clean_environment
from taxiway.embedded.postgres import SUPERUSER, PostgresServer, binaries
from taxiway.emulators.gcs import objects_root
from taxiway.waiting import Patience

PROJECT, BUCKET, DATASET, LOCATION = "taxiway-bench", "taxiway-bench-lake", "taxiway_bench", "US"
_READY_SECONDS = 60


@dataclass(frozen=True)
class Database:
    """A running PostgreSQL of this measurement."""

    server: PostgresServer
    password: str
    pid: int

    @property
    def dsn(self) -> str:
        """Connection string; it holds the password of a server that lives as long as the measurement."""
        return self.server.conninfo(SUPERUSER, self.password, SUPERUSER)

    @property
    def connection(self) -> dict[str, str]:
        """What the library reads."""
        found = {
            "conn_type": "postgres", "host": "127.0.0.1", "port": self.server.port, "schema": SUPERUSER,
            "login": SUPERUSER, "password": self.password,
        }  # fmt: skip
        return {"AIRFLOW_CONN_TAXI_POSTGRES": json.dumps(found)}

    @property
    def variables(self) -> dict[str, str]:
        """What psql and others read."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.server.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": self.password,
            "PGDATABASE": SUPERUSER,
        }

    def psql(self, command: str) -> list[str | Path]:
        """Command line that runs one statement or backslash command."""
        return [binaries() / "psql", "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-c", command]

    def execute(self, *statements: str) -> None:
        """Run statements, each its own transaction."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def forget(self, table: str, dlt: Path) -> None:
        """Drop a peer's table; dlt remembers what it has loaded, in a folder and in tables of its own."""
        shutil.rmtree(dlt, ignore_errors=True)
        drops = ("DROP SCHEMA IF EXISTS dlt, dlt_staging CASCADE", f"DROP TABLE IF EXISTS {table}")
        self.execute(*drops, "CHECKPOINT")

    def facts(self, table: str) -> Facts:
        """Count and sum a table."""
        query = sql.SQL("SELECT count(*), sum(total_amount), sum(trip_distance) FROM {}")
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute(query.format(sql.Identifier(*table.split(".")))).fetchone()
        rows, amount, distance = found or (0, 0, 0)
        return Facts(int(rows), float(amount or 0), float(distance or 0))

    @property
    def url(self) -> str:
        """The connection string of others."""
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.server.port}/{SUPERUSER}?sslmode=disable"


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Database]:
    """Run PostgreSQL with the platform's settings on a fresh cluster."""
    password = secrets.token_urlsafe(16)
    with _own_folder(folder) as own:
        server = PostgresServer(own / "postgres", free_port())
        server.initialise(password)
        with _server([*server.command()], own / "postgres.log", signal.SIGINT) as started:
            server.wait_until_ready(password)
            yield Database(server, password, started.pid)


@dataclass(frozen=True)
class Cloud:
    """Running emulators with a bucket and a dataset in them."""

    storage: str
    bigquery: str
    pids: tuple[int, ...]

    @property
    def variables(self) -> dict[str, str]:
        """What the library reads."""
        return {
            "GCP_PROJECT_ID": PROJECT,
            "GCP_GCS_BUCKET": BUCKET,
            "BIGQUERY_DATASET": DATASET,
            "GCP_LOCATION": LOCATION,
            "STORAGE_EMULATOR_HOST": self.storage,
            "BIGQUERY_EMULATOR_HOST": self.bigquery,
        }


@contextlib.contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    """Run the storage and BigQuery emulators."""
    with _own_folder(folder) as own, contextlib.ExitStack() as stack:
        yield _start_cloud(own, stack)


def _start_cloud(folder: Path, stack: contextlib.ExitStack) -> Cloud:
    data = {name: folder / name for name in ("gcs", "bigquery")}
    options = {
        "gcs": ("--data", str(data["gcs"])),
        "bigquery": ("--data", str(data["bigquery"]), "--lake-root", str(objects_root(data["gcs"]))),
    }
    urls, pids = {}, []
    for name, more in options.items():
        port = free_port()
        command: list[str | Path] = [
            sys.executable,
            "-m",
            f"taxiway.emulators.{name}",
            "--port",
            str(port),
            *more,
        ]
        server = stack.enter_context(_server(command, folder / f"{name}.log", signal.SIGTERM))
        urls[name] = f"http://127.0.0.1:{port}"
        pids.append(server.pid)
    for url in urls.values():
        _wait_until_answering(f"{url}/healthz", healthy=True)
    _make_stack(urls["gcs"], urls["bigquery"])
    return Cloud(urls["gcs"], urls["bigquery"], tuple(pids))


@contextlib.contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """A fresh folder for a server's files."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="servers-") as own:
        yield Path(own)


@contextlib.contextmanager
def ends(folder: Path, file: Path) -> Iterator[tuple[str, str]]:
    """Run a source that has one file and a bucket that keeps nothing; yield their URLs."""
    with _own_folder(folder) as own, contextlib.ExitStack() as stack:
        urls = []
        for kind, more in (("origin", [str(file)]), ("sink", [])):
            port = free_port()
            command = process("ends", kind, str(port), *more)
            stack.enter_context(_server(command, own / f"{kind}.log", signal.SIGTERM))
            urls.append(f"http://127.0.0.1:{port}")
        for url in urls:
            _wait_until_answering(url)
        yield urls[0], urls[1]


def _make_stack(storage: str, bigquery: str) -> None:
    with _direct() as http:
        reference = {"projectId": PROJECT, "datasetId": DATASET}
        for answer in (
            http.post(f"{storage}/storage/v1/b", params={"project": PROJECT}, json={"name": BUCKET}),
            http.post(
                f"{bigquery}/bigquery/v2/projects/{PROJECT}/datasets",
                json={"datasetReference": reference, "location": LOCATION},
            ),
        ):
            answer.raise_for_status()


def _direct() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy of the user's must not come between us and the loopback
    return session


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _server(command: list[str | Path], log: Path, stop: signal.Signals) -> Iterator[subprocess.Popen[bytes]]:
    """A server with its log in a file; ended politely, then by force."""
    environment = clean_environment()
    with log.open("ab") as output:
        # Its folder is the mark by which a later call finds what a killed one has left running.
        server = subprocess.Popen(command, cwd=log.parent, env=environment, stdout=output, stderr=output)
    try:
        yield server
    finally:
        server.send_signal(stop)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_answering(url: str, *, healthy: bool = False) -> None:
    def answers() -> bool:
        with contextlib.suppress(requests.RequestException), http.get(url, timeout=2, stream=True) as answer:
            return answer.ok or not healthy
        return False

    patience = Patience(_READY_SECONDS, remedy="Its log is below .taxiway/_bench.", every=0.05)
    with _direct() as http:
        patience.until(answers, lambda: f"{url} does not answer")
