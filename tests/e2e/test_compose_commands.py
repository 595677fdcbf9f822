"""The commands with containers behind them, what they report if something is wrong, and both targets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from compose_stack import fresh_clone, require_docker, timed
from repository import REPOSITORY, share_environment

from elt.connections import EnvironmentConnections
from taxiway.environment.home import Home, read_json

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
MONTH = "2024-01"


@pytest.fixture(scope="module")
def first_up() -> Iterator[tuple[Path, str]]:
    """A checkout in which `scripts/up --target compose` found port 8080 taken, and what it printed."""
    require_docker()
    folder = fresh_clone("commands")
    share_environment(folder)
    printed: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as probe:
        opened = {"TAXIWAY_ADDRESS": "127.0.0.1", "GATEWAY_PORT": str(probe.getsockname()[1])}
    up = ("up", "--target", "compose", "--months", MONTH)
    try:
        with port_taken(8080):
            timed(
                "scripts/up --target compose",
                lambda: printed.append(command(folder, *up, variables=opened).stderr),
            )
        yield folder, printed[0]
    finally:
        if (folder / ".taxiway").exists():
            shutil.copy2(REPOSITORY / "docker-compose.yaml", folder)
            command(folder, "down", code=None)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def clone(first_up: tuple[Path, str]) -> Path:
    return first_up[0]


@contextmanager
def port_taken(port: int) -> Iterator[None]:
    """Somebody listens there, if nobody does already."""
    try:
        server = socket.create_server(("127.0.0.1", port))
    except OSError:
        yield
        return
    with server:
        yield


def command(
    folder: Path, name: str, *arguments: str, code: int | None = 0, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run scripts/NAME in a checkout; fails the test unless it exits with `code` (None: with any)."""
    environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", **(variables or {})}
    words = [folder / "scripts" / name, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", env=environment, timeout=1200)
    assert code in (None, done.returncode), f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def status(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(command(folder, "status", "--json").stdout)
    return facts


def test_compose_moves_a_port_that_is_taken_and_reports_it(first_up: tuple[Path, str]) -> None:
    folder, printed = first_up
    moved = re.search(r"port 8080 is taken: api-server uses (\d+)", printed)
    assert moved, printed
    addresses = {part["name"]: part["url"] for part in status(folder)["components"]}
    assert addresses["airflow-api-server"] == f"http://127.0.0.1:{moved[1]}"
    assert requests.get(f"{addresses['airflow-api-server']}/api/v2/version", timeout=10).ok


def test_compose_up_opens_the_gateway_that_the_shell_names_and_says_how_to_invite_a_host(
    first_up: tuple[Path, str],
) -> None:
    folder, printed = first_up
    said = re.search(r"invite another host: (.+) >HOST\.tar", printed)
    assert said, printed
    invite = [word.replace("HOST", "north") for word in shlex.split(said[1])]
    done = subprocess.run(invite, cwd=folder, capture_output=True, timeout=300)
    assert b"BEGIN CERTIFICATE" in done.stdout, done.stderr
    assert "gateway" in {part["name"] for part in status(folder)["components"]}


def test_compose_status_names_every_service_and_all_run(clone: Path) -> None:
    facts = status(clone)
    assert facts["target"] == "compose"
    states = {part["name"]: part["state"] for part in facts["components"]}
    assert set(states.values()) == {"RUNNING"}
    assert {"airflow-api-server", "airflow-worker", "flower", "taxi-postgres", "gcs", "janitor"} <= set(
        states
    )
    assert [row["state"] for row in facts["datasets"]] == ["loaded", "loaded"]


def test_compose_run_loads_another_month_once(clone: Path) -> None:
    command(clone, "run", "yellow", "2024-02")
    before = status(clone)
    assert "nothing to do" in command(clone, "run", "yellow", "2024-02").stderr
    assert status(clone) == before


def test_compose_logs_are_shown_by_the_embedded_targets_names_too(clone: Path) -> None:
    assert command(clone, "logs", "scheduler", "-n", "5").stdout.strip()
    refused = command(clone, "logs", "nonsense", code=2)
    assert "airflow-scheduler" in refused.stderr


def test_compose_and_embedded_hold_the_same_rows_of_the_same_month(clone: Path) -> None:
    embedded = fresh_clone("embedded")
    share_environment(embedded)
    try:
        command(embedded, "up", "--months", MONTH)
        assert fingerprints(Home.of("local", embedded)) == fingerprints(Home.of("local", clone))
    finally:
        command(embedded, "down", code=None)
        shutil.rmtree(embedded)


def fingerprints(home: Home) -> dict[str, Any]:
    """Checksum of the month's rows in each store, each read by other means than the product's."""
    variables, ours = read_json(home.environment), {"Authorization": f"Bearer {home.emulator_token}"}
    lake = f"{variables['STORAGE_EMULATOR_HOST']}/storage/v1/b/{variables['GCP_GCS_BUCKET']}/o"
    assert requests.get(lake, timeout=30).status_code == 401
    listed = requests.get(lake, params={"prefix": "typed/yellow/"}, headers=ours, timeout=30).json()["items"]
    january = [item for item in listed if "year=2024/month=01" in item["name"]]
    query = (
        "SELECT COUNT(*), SUM(fare_amount), SUM(trip_distance), MIN(tpep_pickup_datetime), "
        f"MAX(tpep_dropoff_datetime), SUM(pu_location_id) FROM {variables['BIGQUERY_DATASET']}.yellow_trips "
        "WHERE source_month = '2024-01-01'"
    )
    projects = f"{variables['BIGQUERY_EMULATOR_HOST']}/bigquery/v2/projects"
    url = f"{projects}/{variables['GCP_PROJECT_ID']}/queries"
    answer = requests.post(url, json={"query": query, "useLegacySql": False}, headers=ours, timeout=60)
    assert answer.ok, answer.text
    with EnvironmentConnections(variables).postgres() as connection:
        rows = connection.execute(
            "SELECT t::text FROM yellow_trips t WHERE source_month = '2024-01-01'"
        ).fetchall()
    texts = sorted(text for (text,) in rows)
    assert len(texts) > 19_000
    assert january
    return {
        "lake": sorted((item["name"], item["md5Hash"]) for item in january),
        "warehouse": answer.json()["rows"],
        "postgres": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
    }


WRONG = {
    "JWT secret": (
        "      TAXIWAY_SERVICE: airflow-scheduler\n",
        "      TAXIWAY_SERVICE: airflow-scheduler\n      AIRFLOW__API_AUTH__JWT_SECRET: " + "x" * 64 + "\n",
        "AIRFLOW__API_AUTH__JWT_SECRET is not the same",
    ),
    "execution URL": (
        "      TAXIWAY_SERVICE: airflow-worker\n",
        "      TAXIWAY_SERVICE: airflow-worker\n      TAXIWAY_API_SECONDS: '5'\n"
        "      AIRFLOW__CORE__EXECUTION_API_SERVER_URL: http://airflow-api-server:8081/execution/\n",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://airflow-api-server:8081",
    ),
    "credentials mount": (
        "${GOOGLE_CREDENTIALS_FILE:-/dev/null}",
        "./google_credentials",
        "google_credentials cannot be read by uid",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_compose_up_fails_and_names_the_cause_of_a_wrong(clone: Path, what: str) -> None:
    right, wrong, cause = WRONG[what]
    file = clone / "docker-compose.yaml"
    text = (REPOSITORY / "docker-compose.yaml").read_text()
    assert text.count(right) == 1
    secret = clone / "google_credentials"
    secret.write_text("{}")
    secret.chmod(0)
    path = "${GOOGLE_CREDENTIALS_FILE:+/run/secrets/google_credentials}"
    file.write_text(
        text.replace(right, wrong).replace(
            path, "/run/secrets/google_credentials" if "mount" in what else path
        )
    )
    failed = command(clone, "up", "--target", "compose", "--months", MONTH, code=1)
    assert cause in failed.stderr
    assert "Traceback" not in failed.stderr


def test_compose_down_removes_everything_and_verifies_it(clone: Path) -> None:
    shutil.copy2(REPOSITORY / "docker-compose.yaml", clone)
    done = command(clone, "down")
    for removed in ("bucket", "container", "volume", "logs", ".taxiway"):
        assert removed in done.stdout
    assert "Nothing is left" in done.stdout
    assert not (clone / ".taxiway").exists()
    assert not (clone / "logs").exists()
