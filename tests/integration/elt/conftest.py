"""A real Postgres, and for each test a stack of its own fed by a source that does as it is told."""

from collections.abc import Iterator

import faulty_source as faulty
import pytest
import taxi
from emulators import Emulators
from faulty_source import FaultySource

import stacks
from elt.sources import client as source
from stacks import Stack
from taxiway.embedded.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL for the whole session."""
    with stacks.postgres_running(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once."""
    monkeypatch.setattr(source, "PATIENCE", source.Patience((0.01, 0.01, 0.01), 0))


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> str:
    """An empty database."""
    return stacks.new_database(postgres_server)


@pytest.fixture
def stack(emulators: Emulators, faulty_source: FaultySource) -> Stack:
    """Lake and warehouse that are empty, no Postgres, and a source that has the zones."""
    faulty_source.serve(taxi.ZONES, taxi.ZONES_CSV)
    return stacks.new_stack(emulators, faulty_source.url)


@pytest.fixture(scope="session")
def asked(emulators: Emulators, postgres_server: PostgresServer) -> Stack:
    """January of yellow in lake, warehouse and Postgres, two of its 40 rows in quarantine; to be asked."""
    with faulty.running() as running:
        running.serve(taxi.YELLOW.format("2024-01"), taxi.parquet(taxi.trips("2024-01", 40, strays=2)))
        whole = stacks.new_stack(emulators, running.url).with_postgres(stacks.new_database(postgres_server))
        for stage in ("download", "conform", "stage", "audit", "publish", "postgres"):
            whole.run(stage)
    return whole
