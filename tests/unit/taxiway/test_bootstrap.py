"""From a system Python to the locked environment: the ways that exist on users' machines."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from repository import REPOSITORY


@pytest.fixture
def bootstrap(tmp_path: Path) -> ModuleType:
    """The module as of a checkout in `tmp_path`."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(REPOSITORY / "scripts" / "_bootstrap.py", scripts)
    for name in ("uv.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
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


def test_an_unsupported_python_hears_which_ones_are(
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


def test_an_installed_environment_is_not_installed_again(bootstrap: ModuleType, tmp_path: Path) -> None:
    stamp = tmp_path / ".venv" / ".taxiway-lock"
    a_program(tmp_path / ".venv" / "bin" / "python", "exit 0")
    assert not bootstrap.installed(str(stamp), bootstrap.lock_hash())
    stamp.write_text(bootstrap.lock_hash())
    assert bootstrap.installed(str(stamp), bootstrap.lock_hash())
    (tmp_path / "uv.lock").write_text("changed")
    assert not bootstrap.installed(str(stamp), bootstrap.lock_hash())


def test_it_parses_on_a_python_that_is_not_supported() -> None:
    """No syntax newer than 3.6: an old Python must reach the sentence that tells it so."""
    import ast

    ast.parse((REPOSITORY / "scripts" / "_bootstrap.py").read_text(), feature_version=(3, 6))


VERBS = sorted(
    file.name for file in (REPOSITORY / "scripts").iterdir() if file.is_file() and os.access(file, os.X_OK)
)


def test_the_verbs_are_all_here() -> None:
    assert {"up", "down", "run", "status", "logs", "test", "check"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str) -> None:
    command = [sys.executable, REPOSITORY / "scripts" / verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert f"scripts/{verb}" in done.stdout
