"""What makes a machine of CI fit for the container tests: when it acts, and when it must not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from repository import REPOSITORY


def load() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("ci_machine", REPOSITORY / ".ci" / "machine.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up there.
    sys.modules["ci_machine"] = module
    spec.loader.exec_module(module)
    return module


machine: Any = load()


class Shell(machine.Shell):  # type: ignore[misc]
    """A machine with some programs, on which every command ends well unless it contains one of `failing`."""

    def __init__(self, programs: Collection[str] = (), failing: Collection[str] = ()) -> None:
        self.programs, self.failing = programs, failing
        self.commands: list[str] = []

    def run(self, *command: str, **_: Any) -> str:
        self.commands.append(" ".join(command))
        return "Debian https://mirror.example/debian\n" if "indextargets" in command else ""

    def succeeds(self, *command: str, **_: Any) -> bool:
        return not any(words in " ".join(command) for words in self.failing)

    def has(self, program: str) -> bool:
        return program in self.programs


EVERYTHING = ("chromium", "chromedriver", "dockerd", "debootstrap")


def test_a_machine_that_has_everything_is_left_alone() -> None:
    shell = Shell(EVERYTHING)
    assert machine.Machine(shell, may_install=True).prepare() is None
    assert shell.commands == []


def test_an_image_is_built_from_debian_only_if_no_registry_gives_it() -> None:
    failing = ("inspect p", "inspect r", "inspect taxiway-standin-p", "pull -q python", "pull -q redis")
    shell = Shell(EVERYTHING, failing)
    made = machine.Machine(shell, may_install=True).stand_ins()
    built = [command.split()[4] for command in shell.commands if command.startswith("docker build")]
    assert built == ["taxiway-standin-python"], "Redis' was made before, PostgreSQL is in a registry"
    assert made == {"PYTHON_IMAGE": "taxiway-standin-python", "REDIS_IMAGE": "taxiway-standin-redis"}


def test_where_a_registry_answers_nothing_stands_in() -> None:
    assert machine.Machine(Shell(EVERYTHING, ("image inspect",)), may_install=True).stand_ins() == {}


def test_a_missing_browser_is_installed() -> None:
    shell = Shell(("dockerd", "debootstrap"))
    machine.Machine(shell, may_install=True).prepare()
    installed = next(command for command in shell.commands if "install" in command.split())
    assert installed.endswith("chromium chromium-driver")


def test_the_base_images_are_those_that_the_files_name() -> None:
    tags = {name: image.partition("@")[0] for name, image in machine.base_images().items()}
    assert tags == {
        "POSTGRES_IMAGE": "postgres:17",
        "PYTHON_IMAGE": "python:3.13-slim",
        "REDIS_IMAGE": "redis:7.2-bookworm",
    }


def test_every_base_image_has_a_stand_in() -> None:
    names = {image.split(":")[0] for image in machine.base_images().values()}
    assert {file.stem for file in machine.STANDINS.glob("*.Dockerfile")} == names


@pytest.mark.parametrize(
    ("programs", "failing"),
    [((), ()), (EVERYTHING, ("compose version",)), (EVERYTHING[:2], ("docker info",))],
)
def test_nothing_is_installed_unless_by_root_on_debian(
    programs: tuple[str, ...], failing: tuple[str, ...]
) -> None:
    shell = Shell(programs, failing)
    with pytest.raises(machine.UnavailableError, match="only root on Debian"):
        machine.Machine(shell, may_install=False).prepare()
    assert shell.commands == []


def test_the_package_index_of_the_machine_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    shell = Shell(EVERYTHING, failing=("inspect python", "inspect taxiway-standin-python", "pull"))
    machine.Machine(shell, may_install=True).stand_ins()
    assert "--build-arg INDEX=https://index.example/simple" in shell.commands[-1]


def test_a_failing_command_is_reported_with_its_last_lines() -> None:
    with pytest.raises(machine.UnavailableError, match=r"ls --nonsense failed: .*nonsense"):
        machine.Shell().run("ls", "--nonsense")


def test_an_engine_that_was_started_is_ended(tmp_path: Path) -> None:
    engine = machine.Shell().start(["sleep", "600"], tmp_path / "log")
    (tmp_path / "pid").write_text(str(engine.pid))
    machine.main(["stop", str(tmp_path / "pid")])
    assert engine.wait(10) != 0
    assert machine.main(["stop", str(tmp_path / "pid")]) == 0


def test_no_test_installs_anything_on_a_users_machine() -> None:
    files = [file for file in (REPOSITORY / "tests").rglob("*.py") if file != Path(__file__)]
    assert [str(file) for file in files if '"apt-get", "install"' in file.read_text()] == []


@pytest.mark.parametrize(
    ("options", "code", "printed"), [(["--docker"], 1, "it was skipped"), ([], 0, "--docker")]
)
def test_a_skip_among_the_tests_in_containers_is_a_failure_once_they_are_requested(
    options: list[str], code: int, printed: str, tmp_path: Path
) -> None:
    test = tmp_path / "e2e" / "test_compose_nothing.py"
    test.parent.mkdir()
    test.write_text("import pytest\n\ndef test_nothing():\n    pytest.skip('no container today')\n")
    # The tests' own conftest.py, as a plug-in: this folder is not below it.
    program = "import pytest, sys; sys.path.insert(0, sys.argv[1]); sys.exit(pytest.main(sys.argv[2:]))"
    words = [REPOSITORY / "tests", "-c", REPOSITORY / "pyproject.toml", "-p", "conftest", *options, test]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert printed in done.stdout
