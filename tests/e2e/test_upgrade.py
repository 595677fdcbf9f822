"""The rehearsal of an upgrade, with an Airflow that is not the locked one."""

from __future__ import annotations

import os
import subprocess

import pytest
from repository import REPOSITORY

# It asks the package index, and installs another environment.
pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1500)]
ANOTHER = "3.3.1"


def upgrade(version: str) -> subprocess.CompletedProcess[str]:
    command = [REPOSITORY / "scripts" / "upgrade", version]
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1400)


def test_an_upgrade_is_rehearsed_and_reports_what_would_change() -> None:
    files = [REPOSITORY / name for name in ("uv.lock", "plugins/pyproject.toml", "airflow/requirements.txt")]
    before = [file.read_bytes() for file in files]
    done = upgrade(ANOTHER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"→ {ANOTHER}" in done.stdout
    assert f"Nothing breaks with Airflow {ANOTHER}" in done.stdout
    assert [file.read_bytes() for file in files] == before


def test_an_upgrade_to_what_does_not_exist_is_refused_with_the_reason() -> None:
    done = upgrade("3.99.0")
    assert done.returncode == 1
    assert "no version of apache-airflow==3.99.0" in done.stderr
