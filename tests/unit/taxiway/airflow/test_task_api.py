"""The task API is built for two releases instead of nine, and is the same for both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from repository import REPOSITORY

pytestmark = pytest.mark.long  # half a minute of Airflow's routes, which only another lock changes
ROOT = REPOSITORY
CODE = """
import json, logging
import airflow
from airflow.api_fastapi.core_api.routes.public import public_router
from airflow.api_fastapi.execution_api import versions
from airflow.api_fastapi.execution_api.app import create_task_execution_api_app
from starlette.testclient import TestClient

client = TestClient(create_task_execution_api_app())
known = [str(value) for value in versions.bundle.version_values]
ask = lambda version: client.get("/health", headers={"Airflow-API-Version": version}).status_code
answers = {version: ask(version) for version in known}
routes = {version: len(router.routes) for version, router in client.app.router.versioned_routers.items()}
analysed = sum("dependant" in vars(route) for route in public_router.routes)
print("\\n" + json.dumps({"known": known, "answers": answers, "routes": routes, "analysed": analysed}))
"""


@cache
def task_api(home: str, *, same_release: bool) -> dict[str, Any]:
    """What a fresh process makes of Airflow's task API."""
    environment = {
        "PATH": os.environ["PATH"],
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        **({"TAXIWAY_SAME_RELEASE": "1"} if same_release else {}),
    }
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("airflow"))


def test_it_knows_the_newest_releases(home: str) -> None:
    everything, ours = task_api(home, same_release=False), task_api(home, same_release=True)
    assert len(everything["known"]) > 3
    assert ours["known"] == everything["known"][:3]


def test_tasks_of_these_releases_find_what_they_always_found(home: str) -> None:
    everything, ours = task_api(home, same_release=False), task_api(home, same_release=True)
    newest = ours["known"][:2]
    assert {version: ours["answers"][version] for version in newest} == dict.fromkeys(newest, 200)
    for version in newest:
        assert ours["routes"][version] == everything["routes"][version] > 20, version


def test_the_public_api_is_not_analysed_at_the_start(home: str) -> None:
    assert task_api(home, same_release=False)["analysed"] > 100
    assert task_api(home, same_release=True)["analysed"] == 0
