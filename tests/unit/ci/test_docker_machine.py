"""The helper that makes a machine fit for the container tests: when it acts, and when it must not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import docker_machine
import pytest

COMMANDS: list[tuple[str, ...]] = []


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command is written down, and answers that all is well."""
    COMMANDS.clear()

    def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
        COMMANDS.append(command)
        return ""

    monkeypatch.setattr(docker_machine, "run", run)
    monkeypatch.setattr(docker_machine, "succeeds", lambda *_: True)


def test_a_machine_that_has_everything_is_left_alone() -> None:
    assert docker_machine.provide() is None
    assert COMMANDS == []


def test_no_image_is_made_that_a_registry_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(docker_machine, "succeeds", lambda *command: command[1] != "image")
    monkeypatch.setattr(docker_machine, "pulled", lambda image: image.startswith("postgres"))
    monkeypatch.setattr(docker_machine, "build_standin", made.append)
    docker_machine.provide()
    assert made == ["python:3.13-slim", "redis:7.2-bookworm"]


def test_the_base_images_are_those_that_the_files_name() -> None:
    assert docker_machine.base_images() == ["postgres:17", "python:3.13-slim", "redis:7.2-bookworm"]


def test_every_base_image_has_a_stand_in() -> None:
    names = {image.split(":")[0] for image in docker_machine.base_images()}
    assert {file.stem for file in docker_machine.STANDINS.glob("*.Dockerfile")} == names


@pytest.mark.parametrize("why", ["not root", "not Debian"])
def test_nothing_is_installed_unless_by_root_on_debian(
    monkeypatch: pytest.MonkeyPatch, why: str, tmp_path: Path
) -> None:
    release = tmp_path / "os-release"
    release.write_text("NAME=x\nID=fedora\n" if why == "not Debian" else "NAME=x\nID=debian\n")
    monkeypatch.setattr(docker_machine, "RELEASE", release)
    monkeypatch.setattr(docker_machine.os, "geteuid", lambda: 1000 if why == "not root" else 0)
    monkeypatch.setattr(docker_machine.shutil, "which", lambda _: None)
    for act in (docker_machine.start_engine, docker_machine.install_plugins, docker_machine.make_base):
        with pytest.raises(docker_machine.UnavailableError, match="only root on Debian"):
            act()
    assert COMMANDS == []


def test_the_package_index_of_the_machine_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    assert docker_machine.package_index() == "https://index.example/simple"


def test_a_failing_command_is_said_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(docker_machine.UnavailableError, match=r"ls --nonsense failed: .*nonsense"):
        docker_machine.run("ls", "--nonsense")


def test_a_test_in_containers_fails_where_it_cannot_run_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    import compose_stack

    monkeypatch.setattr(compose_stack, "_unavailable", lambda: "")
    compose_stack.require_docker()
    monkeypatch.setattr(compose_stack, "_unavailable", lambda: "an engine is missing")
    with pytest.raises(pytest.fail.Exception, match="an engine is missing"):
        compose_stack.require_docker()


@pytest.mark.parametrize(
    ("options", "code", "said"), [(["--docker"], 1, "it was skipped"), ([], 0, "--docker")]
)
def test_a_skip_among_the_tests_in_containers_is_a_failure_once_they_are_asked_for(
    options: list[str], code: int, said: str, tmp_path: Path
) -> None:
    test = tmp_path / "e2e" / "test_compose_nothing.py"
    test.parent.mkdir()
    test.write_text("import pytest\n\ndef test_nothing():\n    pytest.skip('no container today')\n")
    root = docker_machine.REPOSITORY
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        root / "pyproject.toml",
        "-p",
        "conftest",
        *options,
        test,
    ]
    paths = {"PYTHONPATH": str(root / "tests")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **paths})
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
