"""`scripts/up --on vm`: what docker and gcloud are called with, and what becomes of their answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from fakes import FakeClock

from lakehouse.settings import Settings
from taxiway.cli.main import main
from taxiway.environment.home import State
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.targets.runner import DEPLOYED, Runner
from taxiway.targets.target import Checkout
from taxiway.waiting import Patience

SETTINGS = Settings(project="acme-data", owner="alice@example.com")
IMAGE = "us-central1-docker.pkg.dev/acme-data/taxiway-alice/taxiway:current"


@dataclass
class Programs:
    """Answers each call with the next of `codes` (0 once there are no more), and what it prints."""

    codes: list[int] = field(default_factory=list)
    output: str = ""
    calls: list[list[str]] = field(default_factory=list)
    context: dict[str, str] = field(default_factory=dict)

    def __call__(self, command: list[str], seconds: float, **options: Any) -> CompletedProcess[str]:
        self.calls.append(command)
        if command[:2] == ["docker", "build"] and Path(command[-1]).is_absolute():
            root = Path(command[-1])
            files = (path for path in root.rglob("*") if path.is_file())
            self.context = {path.relative_to(root).as_posix(): path.read_text() for path in files}
        return CompletedProcess(command, self.codes.pop(0) if self.codes else 0, self.output, "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with one file in each folder, and what is not to be deployed."""
    for part in DEPLOYED:
        file = tmp_path / part / "one.py" if "." not in part else tmp_path / part
        file.parent.mkdir(exist_ok=True)
        file.write_text(part)
    for name in (".env", "dags/__pycache__/one.pyc", "infra/stacks/Pulumi.bob.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not this")
    return tmp_path


def runner(programs: Programs, folder: Path = Path()) -> Runner:
    return Runner.of("alice", SETTINGS, folder=folder, call=programs)


def patience(seconds: float = 1800) -> Patience:
    clock = FakeClock()
    return Patience(seconds, every=10, clock=clock.monotonic, sleep=clock.sleep)


def test_the_checkout_is_pushed_within_the_image_and_nothing_else_of_it(folder: Path) -> None:
    programs = Programs()
    runner(programs, folder).push()
    assert [" ".join(call[:2]) for call in programs.calls] == [
        "docker build", "docker build", "gcloud auth", "docker push",
    ]  # fmt: skip
    assert programs.calls[-1][-1] == programs.calls[1][programs.calls[1].index("--tag") + 1] == IMAGE
    # Of the base image that the environment names, as `docker compose` builds it.
    assert programs.calls[0][programs.calls[0].index("--build-arg") + 1] == "PYTHON_IMAGE"
    assert programs.calls[2][3] == "us-central1-docker.pkg.dev"
    dockerfile = programs.context.pop("Dockerfile")
    assert dockerfile == "FROM taxiway-alice:base\nCOPY checkout /checkout\n"
    assert programs.context == {f"checkout/{part}{'/one.py' * ('.' not in part)}": part for part in DEPLOYED}


def test_a_push_that_is_refused_says_why(folder: Path) -> None:
    programs = Programs(codes=[0, 0, 0, 1], output="...\ndenied: Permission failed\n")
    with pytest.raises(TaxiwayError, match=r"`docker push` failed: denied: Permission failed"):
        runner(programs, folder).push()


def test_a_machine_that_still_boots_is_asked_again_until_all_is_healthy() -> None:
    # Nobody answers, no such service; restarted; twice not active yet.
    programs = Programs(codes=[255, 5, 0, 1, 1])
    runner(programs).restart(patience())
    asked = [call[-1].partition(" ||")[0] for call in programs.calls]
    assert asked == [
        *["sudo systemctl restart --no-block taxiway"] * 3,
        *["systemctl is-active --quiet taxiway"] * 3,
    ]
    assert all("--tunnel-through-iap" in call for call in programs.calls)


def test_a_platform_that_does_not_come_up_is_shown_with_its_last_line() -> None:
    programs = Programs(codes=[0, *[1] * 99], output="Error response: denied\n")
    with pytest.raises(TaxiwayError, match=r"taxiway-alice is not healthy: Error response: denied \(after"):
        runner(programs).restart(patience(60))


def test_what_is_missing_is_said_before_anything_is_made() -> None:
    runner(Programs()).check(which=lambda program: program)
    with pytest.raises(PreflightError, match="there is no gcloud on PATH"):
        runner(Programs()).check(which=lambda program: program if program == "docker" else None)


def test_next_are_the_tunnel_and_the_password_that_is_nowhere_else() -> None:
    steps = list(runner(Programs()).next_steps())
    assert steps[0].endswith("--tunnel-through-iap --quiet -- -NL 8080:127.0.0.1:8080")
    assert "--secret taxiway-alice--admin-password --project acme-data" in steps[1]


# The command


@dataclass
class Engines:
    """Opens engines that do nothing but remember their settings."""

    opened: list[Any] = field(default_factory=list)

    def open(self, *arguments: Any) -> Engines:
        self.opened.append((arguments[1], arguments[4]))
        return self

    def up(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs on PATH that write down how they are called; the developer has signed in."""
    folder, called = tmp_path / "bin", tmp_path / "called"
    folder.mkdir()
    for name in ("docker", "gcloud", "pulumi"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{called}\n')
        (folder / name).chmod(0o755)
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"type": "authorized_user"}))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
    monkeypatch.setenv("CLOUDSDK_CORE_ACCOUNT", "alice@example.com")
    return called


def test_up_on_vm_brings_up_the_stack_then_pushes_then_waits(
    folder: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = Engines()
    checkout = Checkout(folder, engines.open)
    assert main(["up", "--stack", "alice", "--project", "acme-data", "--on", "vm"], checkout) == 0
    assert engines.opened == [("alice", {"taxiway:project": "acme-data", "taxiway:runner": "true"})]
    assert [line.split()[:2] for line in programs.read_text().splitlines()] == [
        ["docker", "build"], ["docker", "build"], ["gcloud", "auth"], ["docker", "push"],
        ["gcloud", "compute"], ["gcloud", "compute"],
    ]  # fmt: skip
    assert "-NL 8080:127.0.0.1:8080" in capsys.readouterr().out


def test_up_on_vm_again_needs_no_project(folder: Path, programs: Path) -> None:
    StackFiles(folder / "infra" / "stacks").write("alice", {"taxiway:project": "acme-data"})
    assert main(["up", "--stack", "alice", "--on", "vm"], Checkout(folder, Engines().open)) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--months", "2024-01"], "takes --stack and --project alone"),
        (["--target", "compose"], "takes --stack and --project alone"),
        (["--preview"], "takes --stack and --project alone"),
        ([], "one on emulators"),
    ],
)
def test_what_does_not_go_together_is_said(
    folder: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--stack", "alice", "--on", "vm", *arguments], Checkout(folder, Engines().open)) == 2
    assert said in capsys.readouterr().err


def test_a_setting_that_a_runner_does_not_go_with_is_a_sentence(
    folder: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = {"taxiway:project": "acme-data", "taxiway:composer": "true"}
    StackFiles(folder / "infra" / "stacks").write("alice", written)
    assert main(["up", "--stack", "alice", "--on", "vm"], Checkout(folder, Engines().open)) == 1
    said = capsys.readouterr().err
    assert "Composer would run the same DAGs" in said
    assert "defect" not in said
    assert not programs.exists()


def test_a_stack_whose_airflow_is_here_does_not_run_the_same_dags_there(
    folder: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = Checkout(folder, Engines().open)
    State({}, emulated=False).save(checkout.home("alice"))
    assert main(["up", "--stack", "alice", "--project", "acme-data", "--on", "vm"], checkout) == 2
    assert "is here as a platform of this machine" in capsys.readouterr().err
    assert not programs.exists()
