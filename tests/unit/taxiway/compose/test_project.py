"""What docker is asked, what it answers, and what becomes of its complaints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taxiway.compose import project
from taxiway.compose.project import Docker, Project
from taxiway.errors import PreflightError, TaxiwayError


def docker(folder: Path, body: str) -> Docker:
    """A docker that is a shell script."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return Docker(str(program))


@pytest.mark.parametrize(
    ("state", "health", "code", "expected"),
    [
        ("running", "healthy", 0, "RUNNING"), ("running", "", 0, "RUNNING"),
        ("running", "starting", 0, "STARTING"),
        ("running", "unhealthy", 0, "FATAL"), ("restarting", "", 1, "FATAL"), ("exited", "", 1, "FATAL"),
        ("exited", "", 0, "EXITED"), ("created", "", 0, "STOPPED"),
    ],
)  # fmt: skip
def test_a_containers_state_is_one_of_those_that_the_commands_know(
    state: str, health: str, code: int, expected: str
) -> None:
    assert project.state({"State": state, "Health": health, "ExitCode": code}) == expected


def test_of_several_containers_of_a_service_the_worst_counts() -> None:
    well: dict[str, Any] = {"Service": "w", "State": "running", "Health": "healthy", "ExitCode": 0}
    assert project.states([well, {**well, "State": "restarting"}, well]) == {"w": "FATAL"}


def test_the_line_that_blames_is_found() -> None:
    output = (
        "Container a  Started\nError response from daemon: port is already allocated\nContainer b  Started\n"
    )
    assert project.complaint(output) == "Error response from daemon: port is already allocated"
    assert project.complaint("") == "no output"


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
    assert project.named_in(complaint, there) == service


def test_a_container_that_is_replaced_while_they_are_listed_is_looked_for_again(tmp_path: Path) -> None:
    gone = "echo Error response from daemon: No such container: fc7d >&2; exit 1"
    once = f'[ -f {tmp_path}/looked ] || {{ touch {tmp_path}/looked; {gone}; }}\necho \'{{"Service": "a"}}\''
    assert Project(tmp_path, tmp_path / "env", docker(tmp_path, once)).containers() == [{"Service": "a"}]
    with pytest.raises(TaxiwayError, match="ps failed: Error response from daemon: No such container"):
        Project(tmp_path, tmp_path / "env", docker(tmp_path, gone)).containers()


@pytest.mark.parametrize(
    ("text", "version"),
    [("v2.26.1-4\n", (2, 26)), ("2.40.3", (2, 40)), ("5.0.1", (5, 0)), ("", ()), ("dev", ())],
)
def test_composes_version_is_understood(text: str, version: tuple[int, ...]) -> None:
    assert project.compose_version(text) == version
    assert (version >= project.OLDEST_COMPOSE) == (version > (2, 23))


def test_without_docker_the_remedy_is_reported() -> None:
    with pytest.raises(PreflightError, match="no docker on PATH") as raised:
        Docker("/nowhere/docker").check()
    assert "Install Docker" in raised.value.remedy


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("echo 2.10.0", "docker compose is missing or too old (2.10.0)"),
        (
            'case $1 in compose) echo v2.30.0;; info) echo "Cannot connect" >&2; exit 1;; esac',
            "Docker's engine does not answer: Cannot connect",
        ),
        (
            """case $1 in compose) echo v2.30.0;; info) echo '{"ServerErrors": ["no daemon"]}';; esac""",
            "Docker's engine does not answer: no daemon",
        ),
    ],
)
def test_an_engine_that_cannot_be_used_is_reported(tmp_path: Path, body: str, sentence: str) -> None:
    with pytest.raises(PreflightError) as raised:
        docker(tmp_path, body).check()
    assert str(raised.value) == sentence


def test_a_command_that_docker_never_answers_ends(tmp_path: Path) -> None:
    with pytest.raises(TaxiwayError, match="did not end within 0 s") as raised:
        docker(tmp_path, "exec sleep 60").run("ps", seconds=0.2)
    assert "restart it" in raised.value.remedy


def test_a_command_that_fails_is_reported_with_its_last_line(tmp_path: Path) -> None:
    failing = docker(tmp_path, "echo something; echo 'no such volume' >&2; exit 1")
    with pytest.raises(TaxiwayError, match="docker volume failed: no such volume"):
        failing.labelled("volume", "x")
    with pytest.raises(TaxiwayError, match="docker compose ps failed: no such volume"):
        Project(tmp_path, tmp_path / "file", failing).containers()


def test_containers_are_read_from_one_object_a_line(tmp_path: Path) -> None:
    listed = [{"Name": "a"}, {"Name": "b"}]
    (tmp_path / "answer").write_text("\n".join(map(json.dumps, listed)))
    answering = docker(tmp_path, f"cat {tmp_path}/answer")
    assert Project(tmp_path, tmp_path / "file", answering).containers() == listed


def test_nothing_of_the_shell_wins_over_the_projects_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("COMPOSE_PROJECT_NAME=x\nEMULATORS_OFF=\nFLOWER_PORT=5\n")
    for name in ("EMULATORS_OFF", "FLOWER_PORT", "GCP_PROJECT_ID", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME"):
        monkeypatch.setenv(name, "of-the-shell")
    assert "of-the-shell" not in Project(tmp_path, tmp_path / "file").environment().values()
