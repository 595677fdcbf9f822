"""The rehearsal of an upgrade, with an Airflow that is not the locked one."""

from __future__ import annotations

import os
import subprocess

import pytest
from compose_stack import REPOSITORY, require_docker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
ANOTHER = "3.3.1"


def test_compose_upgrade_is_rehearsed_and_reports_what_would_change() -> None:
    """With the classic builder: the other tests build with BuildKit."""
    require_docker()
    files = [REPOSITORY / name for name in ("uv.lock", "pyproject.toml", "airflow/requirements.txt")]
    before = [file.read_bytes() for file in files]
    command = [REPOSITORY / "scripts" / "upgrade", ANOTHER]
    environment = {**os.environ, "NO_COLOR": "1", "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"→ {ANOTHER}" in done.stdout
    assert f"Nothing breaks with Airflow {ANOTHER}" in done.stdout
    assert [file.read_bytes() for file in files] == before


def test_compose_upgrade_to_what_does_not_exist_is_refused_with_the_reason() -> None:
    require_docker()
    command = [REPOSITORY / "scripts" / "upgrade", "99.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 1
    assert "no version of apache-airflow==99.0.0" in done.stderr
