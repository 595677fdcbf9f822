"""One environment: its files, its state, its lock, its secrets, and the machine it is on."""

from __future__ import annotations

import base64
import configparser
import fcntl
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from taxiway.airflow.environment import airflow_environment, child_environment
from taxiway.environment import secrets as credentials
from taxiway.environment.home import (
    REPOSITORY,
    Home,
    State,
    exclusive,
    read_json,
    write_atomically,
    write_json,
)
from taxiway.environment.machine import GIB, Machine
from taxiway.environment.ports import USUAL, choose_ports
from taxiway.errors import PreflightError, TaxiwayError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.of("local", tmp_path)


# Machine


def test_a_taken_port_is_replaced_by_the_next_free_one_and_reported() -> None:
    reports: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        chosen = choose_ports({"api-server": taken}, reports.append)
    assert chosen["api-server"] > taken
    assert reports == [f"port {taken} is taken: api-server uses {chosen['api-server']}"]


def test_two_components_never_get_one_port() -> None:
    chosen = choose_ports({"a": 23000, "b": 23000, "c": 23001}, lambda _: None)
    assert len(set(chosen.values())) == 3


def test_without_a_free_port_nothing_starts() -> None:
    with pytest.raises(PreflightError, match="no free port for api-server between 70000"):
        choose_ports({"api-server": 70_000}, lambda _: None)


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        (Machine(GIB // 2, 9 * GIB, Path("/")), r"0\.5 GiB of memory are free"),
        (Machine(9 * GIB, GIB // 4, Path("/srv")), r"0\.2 GiB of disk are free at /srv"),
    ],
)
def test_a_machine_that_is_too_small_is_refused_before_anything_starts(
    machine: Machine, sentence: str
) -> None:
    with pytest.raises(PreflightError, match=sentence):
        machine.check()


def test_a_machine_that_is_large_enough_passes() -> None:
    Machine(2 * GIB, 2 * GIB, Path("/")).check()
    assert Machine.at(Path("/")).memory > 0


# Secrets


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    credentials.generate(folder)
    credentials.derive(folder, 5432)
    before = {file.name: file.read_text() for file in folder.iterdir()}
    credentials.generate(folder)
    credentials.derive(folder, 5432)
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_environment_of_a_release_without_a_token_gets_one_and_keeps_its_secrets(home: Home) -> None:
    credentials.generate(home.secrets)
    (home.secrets / "emulator_token").unlink()
    before = {file.name: file.read_text() for file in home.secrets.iterdir()}
    assert home.emulator_token == ""
    credentials.generate(home.secrets)
    credentials.derive(home.secrets, 5432)
    assert len(home.emulator_token) >= 32
    assert json.loads(home.secret(credentials.EMULATOR_CREDENTIALS))["token"] == home.emulator_token
    assert {name: home.secret(name) for name in before} == before


@pytest.mark.parametrize("emulated", [True, False])
def test_only_on_emulators_the_token_takes_the_place_of_the_stacks_credentials(
    home: Home, emulated: bool
) -> None:
    written = {"conn_type": "google_cloud_platform", "extra": {"project": "p", "is_anonymous": True}}
    name = "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"
    outputs = {"GCP_PROJECT_ID": "p", name: json.dumps(written)}
    found = airflow_environment(home, State(dict(USUAL), emulated=emulated), outputs)
    ours = {"project": "p", "credential_config_file": str(home.secrets / credentials.EMULATOR_CREDENTIALS)}
    assert json.loads(found[name])["extra"] == (ours if emulated else written["extra"])
    # The API server needs no outputs, and is not given a connection either.
    assert name not in airflow_environment(home, State(dict(USUAL), emulated=emulated), {})


def test_who_makes_the_schedulers_pauses_is_the_executor_alone(home: Home) -> None:
    """Without its executor the scheduler would not pause at all; with pauses of its own, tasks would wait."""
    found = airflow_environment(home, State(dict(USUAL)), {})
    assert found["AIRFLOW__CORE__EXECUTOR"] == "elt.orchestration.executor.RestingLocalExecutor"
    assert found["AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] == "0"
    bundles = json.loads(found["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
    assert {b["classpath"] for b in bundles} == {"elt.orchestration.bundles.DagFolder"}


def test_dag_files_that_have_not_changed_are_seldom_read_and_looked_at_often() -> None:
    """By those bundles, here and in Compose."""
    settings = configparser.RawConfigParser()
    settings.read(REPOSITORY / "airflow" / "airflow.cfg")
    assert settings.getint("dag_processor", "min_file_process_interval") >= 600
    assert settings.getint("dag_processor", "refresh_interval") <= 10
    assert "LocalDagBundle" not in (REPOSITORY / "docker-compose.yaml").read_text()


def test_secrets_have_the_strength_that_airflow_asks_for(tmp_path: Path) -> None:
    credentials.generate(tmp_path)
    assert len((tmp_path / "jwt_secret").read_text()) >= 64
    assert len(base64.urlsafe_b64decode((tmp_path / "fernet_key").read_text())) == 32
    made = {(tmp_path / name).read_text() for name in credentials.GENERATORS}
    assert len(made) == len(credentials.GENERATORS)


# Files


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\ud800")
    assert json.loads(file.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_file_is_an_empty_object(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") == {}


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(TaxiwayError, match=r"state\.json is not JSON"):
        read_json(tmp_path / "state.json")


# State


def test_the_state_is_read_back_as_it_was_saved_and_is_private(home: Home) -> None:
    state = State({"api-server": 8081}, source="http://127.0.0.1:1")
    state.save(home)
    assert State.load(home) == state
    folders = (home.root, home.root.parent, home.engine)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert json.loads(home.state.read_text())["version"] == 2


OF_VERSION_1 = {
    "ports": {"api-server": 8081},
    "source": "sample",
    "engine": "in-process",
    "stack": "local",
    "target": "embedded",
    "project": "",
    "outputs": {"GCP_PROJECT_ID": "taxiway-local"},
    "schedule_start": "2026-11-22",
}


@pytest.mark.parametrize(("project", "emulated"), [("", True), ("acme-data", False)])
def test_an_environment_that_an_older_release_made_is_understood(
    home: Home, project: str, emulated: bool
) -> None:
    write_json(home.state, {**OF_VERSION_1, "project": project})
    assert State.load(home) == State({"api-server": 8081}, emulated=emulated, schedule_start="2026-11-22")


def test_fields_of_a_newer_release_are_ignored(home: Home) -> None:
    write_json(home.state, {"version": 3, "ports": {"api-server": 8081}, "colour": "blue", "emulated": True})
    found = State.load(home)
    assert found is not None
    assert found.ports == {"api-server": 8081}


def test_a_state_without_ports_is_an_error_with_a_remedy(home: Home) -> None:
    write_json(home.state, {"version": 2})
    with pytest.raises(TaxiwayError, match="names no ports"):
        State.load(home)


def test_a_command_that_needs_an_environment_says_how_to_make_one(home: Home) -> None:
    with pytest.raises(TaxiwayError, match="no environment") as raised:
        State.require(home)
    assert "scripts/up" in raised.value.remedy


def test_a_folder_that_others_may_enter_is_closed_by_the_next_command(home: Home) -> None:
    home.root.mkdir(parents=True)
    home.root.parent.chmod(0o755)
    with exclusive(home, "run"):
        assert stat.S_IMODE(home.root.parent.stat().st_mode) == 0o700


# What the processes get


def test_children_inherit_who_one_is_and_the_way_to_the_network_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = {"HOME": "/h", "LANG": "C.UTF-8", "LC_ALL": "C", "HTTPS_PROXY": "http://p", "TZ": "UTC"}
    kept_back = ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PULUMI_ACCESS_TOKEN", "AIRFLOW_CONN_X", "PATHS")
    for name, value in {**passed, **dict.fromkeys(kept_back, "secret")}.items():
        monkeypatch.setenv(name, value)
    found = child_environment()
    assert passed.items() <= found.items()
    assert "127.0.0.1" in found["NO_PROXY"]
    assert "secret" not in found.values()


def test_the_librarys_limits_reach_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an embedded platform; docker-compose.yaml names them for the other."""
    names = ("MAX_BYTES_BILLED", "JOB_SECONDS", "MAX_FILE_BYTES", "DOWNLOAD_SECONDS")
    limits = {f"TAXI_{name}": "7" for name in names}
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    assert limits.items() <= child_environment().items()
    assert all(f"{name}: ${{{name}-}}" in (REPOSITORY / "docker-compose.yaml").read_text() for name in limits)


# Lock


def test_two_commands_do_not_change_one_environment_at_once(home: Home) -> None:
    said = rf"scripts/down cannot start: scripts/up \(process {os.getpid()}\) is changing"
    refused: Any = pytest.raises(TaxiwayError, match=said)
    with exclusive(home, "up"), refused, exclusive(home, "down"):
        pass


def test_the_lock_outlives_the_folder_that_it_locks(home: Home) -> None:
    home.root.mkdir(parents=True)
    refused: Any = pytest.raises(TaxiwayError, match=r"scripts/down .* is changing")
    with exclusive(home, "down"):
        home.root.rmdir()
        with refused, exclusive(home, "up"):
            pass


def test_without_an_environment_no_lock_stays(home: Home) -> None:
    with exclusive(home, "down"):
        pass
    assert not home.root.parent.exists()
    home.root.mkdir(parents=True)
    with exclusive(home, "run"):
        pass
    assert home.lock.exists()


def test_a_lock_that_was_removed_between_two_steps_locks_nothing(home: Home) -> None:
    """Whoever still holds the removed file must not keep the next command from taking the new one."""
    home.root.mkdir(parents=True)
    with home.lock.open("a") as removed:
        fcntl.flock(removed, fcntl.LOCK_EX)
        home.lock.unlink()
        with exclusive(home, "up"):
            assert home.lock.exists()
