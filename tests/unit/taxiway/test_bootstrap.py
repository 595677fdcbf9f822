"""From a system Python to the locked environment: the ways that exist on users' machines."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from repository import REPOSITORY

from taxiway.cli.main import group
from taxiway.cli.reference import help_of, overview


@pytest.fixture
def bootstrap(tmp_path: Path) -> ModuleType:
    """The module as of a checkout in `tmp_path`."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(REPOSITORY / "scripts" / "_bootstrap.py", scripts)
    members = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    for name in (
        "scripts/uv.txt",
        "uv.lock",
        "pyproject.toml",
        *(f"{member}/pyproject.toml" for member in members),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    spec = importlib.util.spec_from_file_location("bootstrap_of_a_checkout", scripts / "_bootstrap.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_without_venv_and_pip_the_uv_on_path_serves(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = a_program(tmp_path / "bin" / "python3", "exit 1")
    uv = a_program(tmp_path / "bin" / "uv", "exit 0")
    monkeypatch.setenv("PATH", str(uv.parent))
    assert bootstrap.private_uv(str(bare)) == str(uv)


def test_an_entry_at_an_sftp_address_brings_what_reads_it(bootstrap: ModuleType, tmp_path: Path) -> None:
    entries = tmp_path / "plugins" / "mine" / "datasets"
    entries.mkdir(parents=True)
    (tmp_path / "plugins" / "elt").mkdir()
    (tmp_path / "plugins" / "elt" / "sftp.py").write_text('"sftp://"')
    assert bootstrap.groups_of_entries() == []
    (entries / "own.py").write_text('PARTNER = Publisher("partner", "sftp://sftp.partner.test")')
    assert bootstrap.groups_of_entries() == ["sftp"]
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    assert groups.keys() >= bootstrap.ALL_GROUPS


def test_without_venv_pip_and_uv_it_says_what_to_install(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = a_program(tmp_path / "bin" / "python3", "exit 1")
    monkeypatch.setenv("PATH", str(bare.parent))
    with pytest.raises(SystemExit) as ended:
        bootstrap.private_uv(str(bare))
    assert ended.value.code == 3
    assert "apt-get install python3-venv" in capsys.readouterr().err
    assert not (tmp_path / ".tools" / "uv").exists()


PIP = """
case "$*" in *"--require-hashes"*"-r {uv}"*) ;; *) echo "not by hash: $*"; exit 1 ;; esac
case "$*" in *"--target"*) ;; *) exit 1 ;; esac
mkdir -p {target}/bin; echo . >>{target}/../installed
printf "#!/bin/sh\n" >{target}/bin/uv; chmod +x {target}/bin/uv
"""


def test_uv_is_installed_by_hash_and_again_when_another_is_wanted(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    """With a Python that has pip, which wants the hashes, and no venv."""
    target, wanted = tmp_path / ".tools" / "uv", tmp_path / "scripts" / "uv.txt"
    python = a_program(tmp_path / "bin" / "python3", PIP.format(uv=wanted, target=target))
    for _ in range(2):
        assert bootstrap.private_uv(str(python)) == str(target / "bin" / "uv")
        assert (tmp_path / ".tools" / "installed").read_text() == ".\n", "once"
    wanted.write_text(wanted.read_text().replace("uv==0", "uv==1"))
    bootstrap.private_uv(str(python))
    assert (tmp_path / ".tools" / "installed").read_text() == ".\n.\n"


def test_an_unsupported_python_is_told_which_ones_are(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = a_program(tmp_path / "bin" / "python3.12", "echo 3 9")
    monkeypatch.setenv("PATH", str(old.parent))
    monkeypatch.setattr(sys, "executable", str(old))
    with pytest.raises(SystemExit) as ended:
        bootstrap.supported_python()
    assert ended.value.code == 3
    assert "3.11 to 3.13" in capsys.readouterr().err


def test_a_newer_python_on_path_is_used_where_this_one_is_too_old(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = a_program(tmp_path / "old" / "python3", "echo 3 9")
    broken = a_program(tmp_path / "bin" / "python3.13", "exit 127")
    good = a_program(tmp_path / "bin" / "python3.12", "echo 3 12")
    monkeypatch.setenv("PATH", str(good.parent))
    monkeypatch.setattr(sys, "executable", str(old))
    assert broken.exists()
    assert bootstrap.supported_python() == str(good)


# Help without an environment


def without_environment(folder: Path, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of a fresh clone, by a Python that can install nothing: it has no package, and no PATH."""
    for name in ("docs", "scripts"):
        (folder / name).mkdir(exist_ok=True)
    for name in ("docs/commands.md", "scripts/_bootstrap.py", f"scripts/{command}"):
        shutil.copy(REPOSITORY / name, folder / name)
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN, folder / "scripts" / command, *words],
        env={"PATH": str(folder)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


RUN = """
import os, runpy, sys
sys.argv.pop(0)
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
COMMANDS = group().commands


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_fresh_clone_explains_each_command_and_installs_nothing(name: str, tmp_path: Path) -> None:
    done = without_environment(tmp_path, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == help_of(COMMANDS[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "scripts"]
    assert without_environment(tmp_path, "help", name).stdout == done.stdout


def test_on_windows_it_says_where_it_runs(tmp_path: Path) -> None:
    code = "import sys; sys.modules['fcntl'] = None; sys.path.insert(0, sys.argv[1]); import _bootstrap"
    command = [sys.executable, "-c", code, REPOSITORY / "scripts"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 2
    assert "WSL 2" in done.stderr
    assert "docs/systems.md" in done.stderr


def test_a_fresh_clone_lists_all_commands(tmp_path: Path) -> None:
    assert without_environment(tmp_path, "help").stdout == overview(REPOSITORY)
    assert without_environment(tmp_path, "help", "nothing").stdout == overview(REPOSITORY)


def test_without_the_page_help_is_what_is_installed(bootstrap: ModuleType, tmp_path: Path) -> None:
    assert bootstrap.help_text("up", ["--help"]) == ""
    (tmp_path / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "commands.md", tmp_path / "docs")
    assert bootstrap.help_text("up", ["--help"])
    assert bootstrap.help_text("up", ["--months", "2024-01"]) == ""
    # What is behind -- is another program's, and so is what no page names.
    assert bootstrap.help_text("dbt", ["--", "--help"]) == ""
    assert bootstrap.help_text("nothing", ["--help"]) == ""


def installed(bootstrap: ModuleType, tmp_path: Path, *groups: str) -> None:
    a_program(tmp_path / ".venv" / "bin" / "python", "exit 0")
    (tmp_path / ".venv" / ".taxiway-lock").write_text(" ".join([bootstrap.lock_hash(), *groups]))


def test_an_installed_environment_is_not_installed_again(bootstrap: ModuleType, tmp_path: Path) -> None:
    assert not bootstrap.complete(bootstrap.lock_hash(), ())
    installed(bootstrap, tmp_path)
    assert bootstrap.complete(bootstrap.lock_hash(), ())


@pytest.mark.parametrize(
    "name",
    [
        "uv.lock",
        "pyproject.toml",
        "scripts/uv.txt",
        "scripts/pyproject.toml",
        "plugins/left_out/pyproject.toml",
    ],
)
def test_what_decides_what_is_installed_installs_again_when_it_changes(
    bootstrap: ModuleType, tmp_path: Path, name: str
) -> None:
    installed(bootstrap, tmp_path)
    (tmp_path / name).write_text("changed")
    assert not bootstrap.complete(bootstrap.lock_hash(), ())


def test_a_command_adds_the_groups_it_needs_and_takes_none_away(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    """`uv` writes down what it was called with, and `scripts/up` after `scripts/check` calls nothing."""
    a_program(tmp_path / ".tools" / "uv" / "bin" / "uv", f'echo "$@" >> {tmp_path}/calls')
    shutil.copy(tmp_path / "scripts" / "uv.txt", tmp_path / ".tools" / "uv")
    installed(bootstrap, tmp_path)
    assert bootstrap.GROUPS["check"]
    bootstrap.ensure_environment(bootstrap.GROUPS["check"])
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["sync"]
    assert all(f"--group {group}" in calls[0] for group in bootstrap.GROUPS["check"])
    bootstrap.ensure_environment()
    assert (tmp_path / "calls").read_text().splitlines() == calls
    (tmp_path / "uv.lock").write_text("changed")
    bootstrap.ensure_environment()
    assert (tmp_path / "calls").read_text().splitlines() == calls * 2


def test_what_somebody_has_added_for_an_entry_stays(bootstrap: ModuleType, tmp_path: Path) -> None:
    a_program(tmp_path / ".tools" / "uv" / "bin" / "uv", f'echo "$@" >> {tmp_path}/calls')
    shutil.copy(tmp_path / "scripts" / "uv.txt", tmp_path / ".tools" / "uv")
    (tmp_path / ".venv/lib/python3.11/site-packages/pymysql").mkdir(parents=True)
    bootstrap.ensure_environment()
    assert "--group mysql" in (tmp_path / "calls").read_text()


def test_it_parses_on_a_python_that_is_not_supported() -> None:
    """No syntax newer than 3.6: an old Python must reach the sentence that tells it so."""
    import ast

    ast.parse((REPOSITORY / "scripts" / "_bootstrap.py").read_text(), feature_version=(3, 6))


def test_groups_that_a_bare_uv_sync_took_away_are_installed_again(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    """As `pulumi install` does, whose toolchain is uv."""
    python = a_program(tmp_path / ".venv" / "bin" / "python", "exit 0")
    programs = [a_program(python.with_name(name), "exit 0") for name in bootstrap.PROGRAMS.values()]
    wanted = bootstrap.lock_hash()
    (tmp_path / ".venv" / ".taxiway-lock").write_text(" ".join([wanted, *bootstrap.ALL_GROUPS]))
    assert bootstrap.complete(wanted, bootstrap.ALL_GROUPS)
    for program in programs:
        program.unlink()
    assert bootstrap.complete(wanted, ())
    assert not any(bootstrap.complete(wanted, (group,)) for group in bootstrap.PROGRAMS)


def test_on_a_fresh_clone_pulumi_installs_what_the_lock_says() -> None:
    """Its toolchain for uv: `pulumi install` is a bare `uv sync`, which needs what the program imports."""
    options = yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text())["runtime"]["options"]
    assert options == {"toolchain": "uv"}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert "taxiway-lakehouse" in project["project"]["dependencies"]
    infra = tomllib.loads((REPOSITORY / "infra" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {"pulumi", "pulumi-gcp", "pulumi-policy"} <= {re.match(r"[\w-]+", one)[0] for one in infra}
    # Whatever uv is on PATH, it knows every setting of this project, or says that it does not.
    assert project["tool"]["uv"]["required-version"]


@pytest.mark.parametrize(
    ("uv", "code", "said"),
    [
        ("echo 'error: Failed to initialize cache at `/x`' >&2; exit 2", 3, "Let UV_CACHE_DIR name a folder"),
        ("echo 'error: no route to host' >&2; exit 2", 3, "Check the network"),
        ("kill -INT $PPID; sleep 20", 130, "interrupted. Call scripts/status again"),
    ],
)
def test_an_installation_that_ends_early_is_a_sentence(
    bootstrap: ModuleType, tmp_path: Path, uv: str, code: int, said: str
) -> None:
    a_program(tmp_path / ".tools" / "uv" / "bin" / "uv", uv)
    shutil.copy(tmp_path / "scripts" / "uv.txt", tmp_path / ".tools" / "uv")
    # A python that is there: only the packages are installed.
    a_program(Path(bootstrap.VENV_PYTHON), "exit 0")
    done = status_in(tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True)
    assert "Traceback" not in done.stderr


def test_a_checkout_that_cannot_be_written_is_a_sentence(bootstrap: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".tools").write_text("")
    done = status_in(tmp_path)
    assert (done.returncode, f"taxiway: {tmp_path}/.tools: " in done.stderr) == (3, True)
    assert "use a clone of your own" in done.stderr
    assert "Traceback" not in done.stderr


def status_in(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import _bootstrap; _bootstrap.run('status')"]
    return subprocess.run(command, cwd=folder / "scripts", capture_output=True, text=True, timeout=60)
