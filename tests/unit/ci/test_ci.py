"""What CI runs: every part, whatever became of the one before, and one clear end."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from repository import REPOSITORY

PARTS = ["machine.py", "check", "test --all", "test --docker"]


def ci(folder: Path, failing: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of .ci/run whose parts only print their names, one of them failing."""
    (folder / ".ci").mkdir()
    shutil.copy2(REPOSITORY / ".ci" / "run", folder / ".ci")
    (folder / "scripts").mkdir()
    for name in (".ci/machine.py", "scripts/check", "scripts/test"):
        part = folder / name
        part.write_text(
            'case "$1" in -*) name="${0##*/} $1" ;; *) name=${0##*/} ;; esac\n'
            f'[ "$1" = stop ] || echo "ran $name"\n[ "$name" != "{failing}" ]\n'
        )
        part.write_text("#!/bin/sh\n" + part.read_text())
        part.chmod(0o755)
    return subprocess.run([folder / ".ci" / "run"], capture_output=True, text=True, cwd="/", timeout=120)


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line[4:] for line in done.stdout.splitlines() if line.startswith("ran ")]


def test_ci_runs_the_readmes_commands_and_reports_that_all_passed(tmp_path: Path) -> None:
    done = ci(tmp_path, failing="nothing")
    assert ran(done) == PARTS
    assert done.returncode == 0
    assert done.stdout.endswith("=== CI passed\n")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_fails_fails_ci_and_lets_the_others_run(tmp_path: Path, part: str) -> None:
    done = ci(tmp_path, failing=part)
    assert ran(done) == PARTS
    assert done.returncode == 1
    failed = done.stdout.splitlines()[-1]
    assert failed.startswith("=== CI FAILED: ")
    assert part in failed


def test_a_part_that_hangs_is_ended_when_the_hour_is_over(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy2(REPOSITORY / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "scripts").mkdir()
    for name in (".ci/machine.py", "scripts/check", "scripts/test"):
        (tmp_path / name).write_text("#!/bin/sh\ncase $0 in *check) exec sleep 600 ;; esac\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], capture_output=True, text=True, timeout=120,
        env={"PATH": "/usr/bin:/bin", "CI_MINUTES": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "=== CI FAILED: scripts/check" in done.stdout
