"""The embedded platform's emulators, started by its own component definitions: whom they serve."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import requests

from elt.connections import EnvironmentConnections
from elt.errors import PipelineError
from elt.orchestration.connections import AirflowConnections
from stacks import free_port
from taxiway.airflow.environment import airflow_environment
from taxiway.console.progress import Progress
from taxiway.embedded.components import components
from taxiway.embedded.health import answers
from taxiway.embedded.platform import Embedded
from taxiway.environment import secrets
from taxiway.environment.home import Home, State
from taxiway.environment.ports import USUAL
from taxiway.infrastructure import environment
from taxiway.waiting import Patience

pytestmark = pytest.mark.emulators
GUARDED = ("gcs", "bigquery", "control-plane")
CLOUD = {
    "gcs": ("/storage/v1/b?project=taxiway-local", "/storage/v1/b?project=taxiway-local"),
    "bigquery": (
        "/bigquery/v2/projects/taxiway-local/datasets",
        "/bigquery/v2/projects/taxiway-local/queries",
    ),
    "control-plane": (
        "/crm/v1/projects/taxiway-local",
        "/iam/v1/projects/taxiway-local/serviceAccounts",
    ),
}


@dataclass(frozen=True)
class Platform:
    """The emulators of one environment as running processes, with its stack on them."""

    embedded: Embedded
    processes: dict[str, psutil.Process]
    variables: dict[str, str]

    @property
    def home(self) -> Home:
        return self.embedded.home

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.embedded.state.ports[name]}"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = Home.of("local", tmp_path_factory.mktemp("checkout"))
    state = State({name: free_port() for name in USUAL})
    state.save(home)
    secrets.generate(home.secrets)
    secrets.derive(home.secrets, state.ports["postgres"])
    home.logs.mkdir()
    processes = {}
    with ExitStack() as stack:
        for one in components(home, state.ports):
            if one.name in GUARDED:
                log = stack.enter_context((home.logs / f"{one.name}.log").open("wb"))
                process = subprocess.Popen(one.command, stdout=log, stderr=log)
                stack.callback(process.wait, 20)
                stack.callback(process.terminate)
                processes[one.name] = psutil.Process(process.pid)
        for one in components(home, state.ports):
            if one.name in GUARDED:
                Patience(120).until(
                    lambda url=one.health: answers(url), lambda: "an emulator does not answer"
                )
        embedded = Embedded(home, state, Progress())
        outputs = environment.variables(embedded.engine.up())
        yield Platform(embedded, processes, airflow_environment(home, state, outputs))


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer emulator"}], ids=str)
def test_whoever_has_no_token_reads_and_changes_nothing(
    platform: Platform, name: str, headers: dict[str, str]
) -> None:
    read, change = (platform.url(name) + path for path in CLOUD[name])
    assert requests.get(read, headers=headers, timeout=10).status_code == 401
    assert requests.post(change, json={}, headers=headers, timeout=10).status_code == 401


def test_nor_over_grpc(platform: Platform) -> None:
    import grpc
    from google.api_core.exceptions import Unauthenticated
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

    channel = grpc.insecure_channel(f"127.0.0.1:{platform.embedded.state.ports['bigquery-grpc']}")
    client = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
    with pytest.raises(Unauthenticated):
        list(client.read_rows("projects/p/locations/us/sessions/s/streams/1", retry=None))


def use(connections: EnvironmentConnections | AirflowConnections) -> None:
    with connections.lake() as lake, connections.warehouse() as warehouse:
        assert list(lake.list("")) == []
        assert warehouse.query("SELECT 1 AS x", {}, {}) == [{"x": 1}]


def test_commands_and_tasks_are_served(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = EnvironmentConnections(platform.variables)
    use(commands)
    for name in ("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.setenv(name, platform.variables[name])
    use(AirflowConnections(commands.settings))


def test_commands_without_the_credential_file_are_refused(platform: Platform) -> None:
    connection = {"conn_type": "google_cloud_platform", "extra": {"project": "p", "is_anonymous": True}}
    anonymous = platform.variables | {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection)}
    with (
        EnvironmentConnections(anonymous).warehouse() as warehouse,
        pytest.raises(PipelineError, match="BigQuery: no credentials"),
    ):
        warehouse.query("SELECT 1 AS x", {}, {})


def test_the_engine_sees_what_is_there(platform: Platform) -> None:
    engine = platform.embedded.engine
    assert engine.drift() == []
    assert engine.preview() == []
    assert any("bucket" in one for one in engine.leftovers())


def test_an_environment_without_a_token_file_can_still_be_opened(platform: Platform, tmp_path: Path) -> None:
    old = replace(platform.embedded, home=Home.of("local", tmp_path))
    assert old.home.emulator_token == ""
    assert not old.engine.exists()


def test_the_token_stands_in_its_two_private_files_alone(platform: Platform) -> None:
    token = platform.home.emulator_token
    holding = [
        p for p in platform.home.root.parent.rglob("*") if p.is_file() and token.encode() in p.read_bytes()
    ]
    assert {p.name for p in holding} == {"emulator_token", secrets.EMULATOR_CREDENTIALS}
    assert {p.stat().st_mode & 0o777 for p in holding} == {0o600}
    assert not [value for value in platform.variables.values() if token in value]
    assert token not in repr(platform.embedded)
    for process in platform.processes.values():
        assert token not in " ".join(process.cmdline())
        assert token not in "".join(process.environ().values())
