"""The same file with the .env of a stack on Google Cloud: no emulators, its own names and credentials."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from compose_stack import Stack, fresh_clone, require_docker

from taxiway.compose import dotenv

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
EMULATED = {"gcs", "bigquery", "control-plane", "sample-source", "infrastructure"}
OUTPUTS = {
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform", "extra": {"project": "a"}}',
    "BIGQUERY_DATASET": "taxiway_carol",
    "GCP_GCS_BUCKET": "acme-taxiway-carol",
    "GCP_LOCATION": "EU",
    "GCP_PROJECT_ID": "acme",
    "GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/google_credentials",
    "google_credentials": '{"type": "of a test"}',
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Up with a stack's .env, in a checkout that is its owner's alone. Nothing calls Google."""
    require_docker()
    made = Stack(fresh_clone("google-cloud"))
    owner = made.folder.stat().st_uid
    credentials = made.folder / "google_credentials"
    credentials.write_text(OUTPUTS["google_credentials"])
    credentials.chmod(0o600)
    os.chown(credentials, owner, -1)
    written = {**dotenv.of_stack("carol", OUTPUTS, credentials), "AIRFLOW_UID": str(owner)}
    (made.folder / ".env").write_text(dotenv.lines(written))
    subprocess.run(["chmod", "-R", "go-rwx", made.folder], check=True)
    try:
        made.compose("build", seconds=1200)
        made.compose("up", "--detach", "--wait")
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", "--rmi", "local", code=None)
        shutil.rmtree(made.folder)


def variables(stack: Stack, service: str) -> dict[str, str]:
    """What a component of that service finds."""
    run = ("run", "--rm", "-T", "--no-deps", "-e", "TAXIWAY_NEEDS_API=", service, "env", "-0")
    return dict(pair.split("=", 1) for pair in stack.compose(*run).split("\0") if "=" in pair)


def test_compose_with_a_stacks_env_starts_no_emulator(stack: Stack) -> None:
    assert not EMULATED & set(stack.services)
    assert stack.name == "taxiway-carol"
    started = {facts["Config"]["Labels"]["com.docker.compose.service"] for facts in stack.inspect().values()}
    assert {"airflow-worker", "airflow-scheduler", "taxi-postgres", "flower"} <= started
    assert not EMULATED & started


def test_compose_with_a_stacks_env_tells_workers_the_stack_and_no_emulator(stack: Stack) -> None:
    found = variables(stack, "airflow-worker")
    told = {name: found.get(name) for name in OUTPUTS if name != "google_credentials"}
    assert told == {name: value for name, value in OUTPUTS.items() if name != "google_credentials"}
    assert not {"STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "TLC_BASE_URL"} & set(found)
    read = stack.read("airflow-worker", "/run/secrets/google_credentials")
    assert read == OUTPUTS["google_credentials"]
    assert "Read-only" in stack.compose(
        "exec", "-T", "airflow-worker", "bash", "-c", "echo x >/run/secrets/google_credentials", code=1
    )


def test_compose_with_a_stacks_env_opens_the_platform_and_loads_nothing_unasked(stack: Stack) -> None:
    assert stack.api.dags()["yellow_to_lake"] is False
    assert stack.api.runs(["yellow_to_lake", "zones_to_lake"]) == []
    assert "Airflow   http" in stack.logs("loader")
