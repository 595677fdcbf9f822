"""A worker on a host of its own: another checkout and Compose project, and no network in common.

It reaches one port at one address. The platform's own worker rests meanwhile.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from compose_stack import SLOW_DAG, USER, Stack, as_its_owner, docker, eventually, fresh_clone, note

from elt import status as report

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
INVITE = ("gateway", "python", "/opt/taxiway/scripts/taxiway/compose/invitation.py")
UNPACK = """
cd "$0" && mkdir -p -m 700 .taxiway/invitation logs && tar -xf invitation.tar -C .taxiway/invitation
"""
ENDLESS = SLOW_DAG.replace('"slow"', '"endless"')


@pytest.fixture(scope="module")
def here(platform: Stack) -> Iterator[Stack]:
    """The platform, open for invited workers at one address of this machine."""
    address = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    with socket.socket() as probe:
        probe.bind((address, 0))
        gateway = {"TAXIWAY_ADDRESS": address, "GATEWAY_PORT": str(probe.getsockname()[1])}
    opened = replace(platform, variables={**platform.variables, **gateway, "TAXIWAY_LOGS_IN_LAKE": "true"})
    (platform.folder / "dags" / "endless.py").write_text(ENDLESS)
    opened.compose("--profile", "gateway", "up", "--detach", "--wait", "gateway", "airflow-api-server")
    try:
        yield opened
    finally:
        (platform.folder / "dags" / "endless.py").unlink()
        opened.compose("--profile", "gateway", "rm", "--stop", "--force", "gateway")
        platform.compose("up", "--detach", "--wait", "airflow-api-server", "airflow-worker")
        # Flower remembers workers that are gone.
        platform.compose("restart", "flower")
        platform.compose("up", "--detach", "--wait", "flower")
        password = platform.read("flower", "/run/taxiway/flower/flower_password")
        url = f"http://127.0.0.1:{platform.variables['FLOWER_PORT']}/workers?json=1"
        ask = lambda: requests.get(url, auth=("admin", password), timeout=30).text  # noqa: E731
        eventually(lambda: "celery@" in ask(), 60, "Flower sees the worker")


@pytest.fixture(scope="module")
def there(here: Stack) -> Iterator[Stack]:
    """The other host, with what it was invited by."""
    given = {name: here.variables[name] for name in ("TAXIWAY_ADDRESS", "GATEWAY_PORT")}
    files = "docker-compose.yaml:airflow/compose.worker.yaml"
    made = Stack(fresh_clone("worker"), {**given, "AIRFLOW_UID": str(USER), "COMPOSE_FILE": files})
    try:
        shutil.copy(here.folder / "dags" / "endless.py", made.folder / "dags")
        (made.folder / "invitation.tar").write_text(here.compose("exec", "-T", *INVITE))
        as_its_owner("sh", "-c", UNPACK, str(made.folder))
        here.compose("stop", "airflow-worker")
        made.compose("up", "--detach", "--wait", "airflow-worker")
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", code=None)
        shutil.rmtree(made.folder)


def task(stack: Stack, dag: str, run: str, task_id: str) -> dict[str, Any]:
    found = [t for t in stack.api.task_instances([dag], [run]) if t["task_id"] == task_id]
    return found[0] if found else {"state": None, "hostname": ""}


def container(stack: Stack, service: str) -> str:
    return stack.containers(service)[0]


def test_a_worker_on_another_host_loads_a_month_and_its_logs_are_shown(here: Stack, there: Stack) -> None:
    run = here.api.trigger("yellow_to_lake", "2024-05", {"publication_timeout": 10})["dag_run_id"]

    def loaded() -> bool:
        rows = {(row["dataset"], row["period"]): row for row in report.status(here.connections)}
        return rows.get(("yellow", "2024-05"), {}).get("state") == "loaded"

    note("a month by a worker on another host", eventually(loaded, 300, "2024-05 is loaded"), "s")
    worker = container(there, "airflow-worker")
    assert worker.startswith(task(here, "yellow_to_lake", run, "conform")["hostname"])
    path = f"/dags/yellow_to_lake/dagRuns/{run}/taskInstances/conform/logs/1"
    log = here.api._call("GET", path, params={"full_content": True})["content"]
    assert any("yellow" in str(entry) for entry in log), log
    assert not [*(here.folder / "logs").glob(f"dag_id=yellow_to_lake/run_id={run}/task_id=conform/*.log")]


def test_a_worker_has_no_more_than_it_was_invited_to(here: Stack, there: Stack) -> None:
    reach = "exec 3<>/dev/tcp/{}"
    shell = ("exec", "-T", "airflow-worker", "bash", "-c")
    there.compose(*shell, reach.format("redis/6379"))
    assert there.compose(*shell, reach.format("postgres/5432"), code=1)
    listening = published(here)
    assert {address for address, _ in listening} == {"127.0.0.1", here.variables["TAXIWAY_ADDRESS"]}
    given = sorted(p.name for p in (there.folder / ".taxiway" / "invitation").rglob("*") if p.is_file())
    assert not {"metadata_dsn", "fernet_key", "jwt_secret", "admin_password", "gateway.pem"} & {*given}


def published(stack: Stack) -> set[tuple[str, str]]:
    return {
        (port["HostIp"], port["HostPort"])
        for facts in stack.inspect().values()
        for ports in (facts["HostConfig"]["PortBindings"] or {}).values()
        for port in ports
    }


def test_tasks_of_a_host_that_is_cut_off_or_destroyed_are_tried_again(here: Stack, there: Stack) -> None:
    eventually(lambda: "endless" in here.api.dags(), 180, "the DAG is seen")
    here.api.unpause("endless")

    def begin() -> str:
        run = str(here.api.trigger("endless", None, {})["dag_run_id"])
        eventually(lambda: task(here, "endless", run, "wait")["state"] == "running", 180, "the task runs")
        return run

    def succeeded(run: str) -> bool:
        return bool(task(here, "endless", run, "wait")["state"] == "success")

    first = begin()
    network, gateway = f"{there.name}_default", container(there, "gateway")
    docker("network", "disconnect", network, gateway)
    lost = lambda: task(here, "endless", first, "wait")["state"] != "running"  # noqa: E731
    note("cut off to noticed", eventually(lost, 120, "the task is missed"), "s")
    docker("network", "connect", network, gateway)
    note("connected again to done", eventually(lambda: succeeded(first), 180, "the task is retried"), "s")
    assert container(there, "airflow-worker").startswith(task(here, "endless", first, "wait")["hostname"])

    second = begin()
    here.compose("up", "--detach", "--no-recreate", "airflow-worker")
    there.compose("kill")
    note(
        "destroyed to done elsewhere",
        eventually(lambda: succeeded(second), 180, "it is tried elsewhere"),
        "s",
    )
    assert container(here, "airflow-worker").startswith(task(here, "endless", second, "wait")["hostname"])
