"""What the compose target decides, refuses and writes down."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from taxiway.compose import containers, docker, dotenv, infrastructure, preflight
from taxiway.compose import host_access as hostside
from taxiway.compose import project_settings as choices
from taxiway.compose.project import Project
from taxiway.environment.home import Home
from taxiway.errors import PreflightError

GIB = 2**30
OUTPUTS = {
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform"}',
    "BIGQUERY_DATASET": "taxiway_alice", "GCP_GCS_BUCKET": "acme-taxiway-alice", "GCP_LOCATION": "EU",
    "GCP_PROJECT_ID": "acme", "GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/google_credentials",
    "google_credentials": '{"private_key": "very secret"}',
}  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "name"),
    [("taxiway", "taxiway"), ("My Project.2", "myproject2"), ("_x-Y_z", "x-y_z"), ("???", "taxiway")],
)
def test_a_projects_name_is_the_one_that_compose_gives_a_folder(folder: str, name: str) -> None:
    assert choices.normalised(folder) == name


def test_two_checkouts_of_one_name_are_two_projects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "owner", lambda _: Path("/home/ann/taxiway"))
    assert choices.project_name(Path("/home/ann/taxiway"), "local") == "taxiway"
    bobs = choices.project_name(Path("/home/bob/taxiway"), "local")
    assert bobs.startswith("taxiway-")
    assert choices.project_name(Path("/home/eve/taxiway"), "local") != bobs


def test_every_stack_is_a_project_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "owner", lambda _: None)
    names = {choices.project_name(Path("/x/taxiway"), stack) for stack in ("local", "alice", "bob")}
    assert names == {"taxiway", "taxiway-alice", "taxiway-bob"}


def test_root_is_not_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert choices.uid() == 50000
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(choices.sys, "platform", "linux")
    assert choices.uid() == 1000
    monkeypatch.setattr(choices.sys, "platform", "darwin")
    assert choices.uid() == 50000


def test_a_stack_on_google_cloud_turns_the_emulators_off() -> None:
    written = dotenv.of_stack("alice", OUTPUTS, Path("/x/google_credentials"))
    assert written["EMULATORS_OFF"] == "1"
    assert (
        written["STORAGE_EMULATOR_HOST"]
        == written["BIGQUERY_EMULATOR_HOST"]
        == written["TAXIWAY_MONTHS"]
        == ""
    )
    assert written["GOOGLE_CREDENTIALS_FILE"] == "/x/google_credentials"
    assert written["COMPOSE_PROJECT_NAME"] == "taxiway-alice"
    assert "very secret" not in "".join(written.values())


def test_a_stack_on_emulators_gets_those_of_compose() -> None:
    outputs = {
        **OUTPUTS,
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:2",
    }
    written = dotenv.of_stack("alice", outputs, None)
    assert not {"STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "EMULATORS_OFF"} & set(written)


def test_variables_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = {"A": "", "B": '{"a": {"b": "c d"}}', "C": "it's", "D": "http://x:1/"}
    (tmp_path / "file").write_text(dotenv.lines(written))
    assert dotenv.read(tmp_path / "file") == written
    assert dotenv.read(tmp_path / "none") == {}


def test_nothing_of_the_shell_wins_over_the_projects_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("COMPOSE_PROJECT_NAME=x\nEMULATORS_OFF=\nFLOWER_PORT=5\n")
    for name in ("EMULATORS_OFF", "FLOWER_PORT", "GCP_PROJECT_ID", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME"):
        monkeypatch.setenv(name, "of-the-shell")
    assert "of-the-shell" not in Project(tmp_path, tmp_path / "file").environment().values()


@pytest.mark.parametrize(
    ("state", "health", "code", "word"),
    [
        ("running", "healthy", 0, "RUNNING"), ("running", "", 0, "RUNNING"),
        ("running", "starting", 0, "STARTING"),
        ("running", "unhealthy", 0, "FATAL"), ("restarting", "", 1, "FATAL"), ("exited", "", 1, "FATAL"),
        ("exited", "", 0, "EXITED"), ("created", "", 0, "STOPPED"),
    ],
)  # fmt: skip
def test_a_containers_state_is_told_in_the_verbs_words(state: str, health: str, code: int, word: str) -> None:
    assert containers.state({"State": state, "Health": health, "ExitCode": code}) == word


def test_of_several_containers_of_a_service_the_worst_counts() -> None:
    well: dict[str, Any] = {"Service": "w", "State": "running", "Health": "healthy", "ExitCode": 0}
    assert containers.states([well, {**well, "State": "restarting"}, well]) == {"w": "FATAL"}


def test_the_line_that_blames_is_found() -> None:
    output = (
        "Container a  Started\nError response from daemon: port is already allocated\nContainer b  Started\n"
    )
    assert containers.complaint(output) == "Error response from daemon: port is already allocated"
    assert containers.complaint("") == "it said nothing"


@pytest.mark.parametrize(
    ("complaint", "service"),
    [
        ("dependency failed to start: container x-airflow-worker-1 is unhealthy", "airflow-worker"),
        ('service "redis" didn\'t complete successfully: exit 1', "redis"),
        ("Bind for 127.0.0.1:8080 failed: port is already allocated", ""),
    ],
)
def test_the_service_that_compose_complains_about_is_found(complaint: str, service: str) -> None:
    there = [{"Service": name, "Name": f"x-{name}-1"} for name in ("redis", "airflow-worker")]
    assert containers.named_in(complaint, there) == service


@pytest.mark.parametrize(
    ("text", "version"),
    [("v2.26.1-4\n", (2, 26)), ("2.40.3", (2, 40)), ("5.0.1", (5, 0)), ("", (0,)), ("dev", (0,))],
)
def test_composes_version_is_understood(text: str, version: tuple[int, ...]) -> None:
    assert docker.compose_version(text) == version
    assert (version >= docker.OLDEST_COMPOSE) == (version[0] >= 2)


def test_without_docker_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PreflightError, match="no docker on PATH") as raised:
        docker.check_docker()
    assert "Install Docker" in raised.value.remedy


def test_too_little_memory_of_the_engine_is_said() -> None:
    with pytest.raises(PreflightError, match=r"Docker has 1\.9 GiB of memory"):
        preflight.check_engine({"MemTotal": int(1.9 * GIB)})
    preflight.check_engine({"MemTotal": 4 * GIB, "DockerRootDir": "/on/another/machine"})


def test_too_little_disk_of_the_engine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: namedtuple("usage", "free")(GIB))
    with pytest.raises(PreflightError, match=r"1\.0 GiB of disk are free"):
        preflight.check_engine({"MemTotal": 4 * GIB, "DockerRootDir": str(tmp_path)})


@pytest.mark.parametrize(
    "source", ["http://127.0.0.1:8000", "http://localhost:8000/x", "http://0.0.0.0:8000"]
)
def test_a_source_on_this_machines_loopback_is_refused_with_the_address_that_works(source: str) -> None:
    with pytest.raises(PreflightError, match="cannot reach") as raised:
        preflight.check_source(source)
    assert "http://host.docker.internal:8000" in raised.value.remedy


@pytest.mark.parametrize("source", ["sample", "https://example.com/tlc", "http://host.docker.internal:8000"])
def test_any_other_source_is_accepted(source: str) -> None:
    preflight.check_source(source)


def test_a_checkout_that_the_containers_cannot_read_is_refused(tmp_path: Path) -> None:
    for name in preflight.SHARED:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    preflight.check_readable(tmp_path, 54321)
    (tmp_path / "dags" / "file").chmod(0o600)
    with pytest.raises(PreflightError, match=r"dags/file cannot be read by uid 54321"):
        preflight.check_readable(tmp_path, 54321)
    preflight.check_readable(tmp_path, os.getuid())


def test_what_the_workers_are_told_is_translated_for_this_side(tmp_path: Path) -> None:
    told = {
        "GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "GCP_LOCATION": "US", "BIGQUERY_DATASET": "d",
        "STORAGE_EMULATOR_HOST": "http://gcs:9023", "BIGQUERY_EMULATOR_HOST": "http://bigquery:9050",
        "TLC_BASE_URL": "http://sample-source:9080", "GOOGLE_APPLICATION_CREDENTIALS": "",
    }  # fmt: skip
    config = {"services": {"airflow-worker": {"environment": told}}}
    seen = hostside.environment(config, Home(tmp_path), {"gcs": 1, "bigquery": 2, "postgres": 3})
    assert seen["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"
    assert seen["BIGQUERY_EMULATOR_HOST"] == "http://127.0.0.1:2"
    assert "port=3 " in seen["TAXI_POSTGRES_DSN"]
    told["EMULATORS_OFF"] = "1"
    assert "STORAGE_EMULATOR_HOST" not in hostside.environment(
        config, Home(tmp_path), {"gcs": 1, "bigquery": 2, "postgres": 3}
    )


def test_infrastructure_says_which_variable_points_elsewhere() -> None:
    assert infrastructure.differences({"A": "1", "B": "2"}, {"A": "1"}) == []
    wrong = infrastructure.differences({"GCP_PROJECT_ID": "taxiway-local"}, {"GCP_PROJECT_ID": "my-own"})
    assert len(wrong) == 1
    assert "GCP_PROJECT_ID=my-own" in wrong[0]
    assert "Unset" in wrong[0]


def test_a_connections_two_forms_mean_the_same() -> None:
    uri = "google-cloud-platform://?__extra__=%7B%22is_anonymous%22%3A+true%2C+%22project%22%3A+%22p%22%7D"
    json = '{"conn_type": "google_cloud_platform", "extra": {"project": "p", "is_anonymous": true}}'
    assert infrastructure.meaning(uri) == infrastructure.meaning(json)
    assert infrastructure.meaning(uri) != infrastructure.meaning(json.replace("true", "false"))
