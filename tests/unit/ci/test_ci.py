"""What CI runs: every part, whatever became of the one before, and one clear end."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from repository import REPOSITORY

PARTS = ["check", "test", "test --docker"]


def ci(folder: Path, failing: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of .ci/run whose parts only say their name, one of them failing."""
    (folder / ".ci").mkdir()
    shutil.copy2(REPOSITORY / ".ci" / "run", folder / ".ci")
    (folder / "scripts").mkdir()
    for name in ("check", "test"):
        part = folder / "scripts" / name
        part.write_text(f'#!/bin/sh\necho "ran {name}${{1:+ $1}}"\n[ "{name}${{1:+ $1}}" != "{failing}" ]\n')
        part.chmod(0o755)
    return subprocess.run([folder / ".ci" / "run"], capture_output=True, text=True, cwd="/")


def test_ci_runs_the_readmes_commands_and_says_that_all_is_well(tmp_path: Path) -> None:
    done = ci(tmp_path, failing="nothing")
    assert [line[4:] for line in done.stdout.splitlines() if line.startswith("ran ")] == PARTS
    assert done.returncode == 0
    assert done.stdout.endswith("=== CI passed\n")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_fails_fails_ci_and_lets_the_others_run(tmp_path: Path, part: str) -> None:
    done = ci(tmp_path, failing=part)
    assert [line[4:] for line in done.stdout.splitlines() if line.startswith("ran ")] == PARTS
    assert done.returncode == 1
    assert done.stdout.endswith(f"=== CI FAILED: scripts/{part}\n")
