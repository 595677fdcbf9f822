"""`docker compose up` on a fresh clone: all of it in containers, from nothing to data and back to nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from compose_stack import SLOW_DAG, Stack, as_its_owner, docker, eventually, note, timed

from elt import status as report
from elt.orchestration.pools import POOLS, queue_of
from taxiway.compose.prepare import MEMORY_BYTES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
ROWS = 20_000
TASKS_RUN_IN = {"airflow-worker", "airflow-triggerer"}


@pytest.fixture(scope="module")
def stack(platform: Stack) -> Stack:
    return platform


def rows(stack: Stack) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(row["dataset"], row["period"]): row for row in report.status(stack.connections)}


def test_compose_up_on_a_fresh_clone_ends_with_the_sample_months_in_every_store(stack: Stack) -> None:
    found = rows(stack)
    for month in ("2024-01", "2024-02"):
        row = found["yellow", month]
        assert row["typed_rows"] + row["quarantined_rows"] == ROWS
        assert row["warehouse_rows"] == row["postgres_rows"] == row["typed_rows"]
        assert row["state"] == "loaded"
    assert found["zones", None]["warehouse_rows"] == 265
    assert "yellow 2024-02 is loaded" in stack.logs("loader")


def test_compose_services_fit_in_the_memory_that_preflight_asks_for(stack: Stack) -> None:
    shown = docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *_running(stack))
    used = {
        name.removeprefix(f"{stack.name}-"): _bytes(text)
        for name, text in re.findall(r"(\S+) (\S+) /", shown)
    }
    assert {"airflow-worker-1", "airflow-scheduler-1", "bigquery-1"} <= set(used)
    for name, size in sorted(used.items()):
        note(f"memory of {name}", size / 2**20, "MiB")
    note("memory of all services", sum(used.values()) / 2**20, "MiB")
    assert sum(used.values()) < MEMORY_BYTES


def _running(stack: Stack) -> list[str]:
    return stack.compose("ps", "--quiet").split()


def _bytes(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([KMG]?i?B)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]


def test_compose_image_is_what_airflow_needs_and_nothing_else(stack: Stack) -> None:
    image = f"taxiway-airflow:{stack.name}"
    facts = json.loads(docker("image", "inspect", image))[0]
    text = (stack.folder / "airflow" / "Dockerfile").read_text()
    default = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", text, re.MULTILINE)
    base = json.loads(docker("image", "inspect", os.environ.get("PYTHON_IMAGE", default[0])))[0]
    note("size of the Airflow image", facts["Size"] / 1e6, "MB")
    note("of that the base image", base["Size"] / 1e6, "MB")
    assert facts["Config"]["User"] == "50000:0"
    look = (
        "id -u; id -g; command -v gcc cc g++ make; "
        "cd /opt/venv/lib/python3.13/site-packages; ls -d bqemulator duckdb pulumi google/ads; "
        "find airflow -name '*.py' | wc -l; find airflow -name '*.pyc' | wc -l; ls /opt/airflow"
    )
    run = ("run", "--rm", "--network", "none", "--entrypoint", "bash", image, "-c", f"({look}) 2>/dev/null")
    uid, gid, sources, compiled, *held = docker(*run).split()
    assert (uid, gid) == ("50000", "0")
    assert int(compiled) >= int(sources) > 1000
    assert held == ["logs"]


def test_compose_image_builds_with_the_classic_builder_as_well(stack: Stack) -> None:
    """What the images are built with here is BuildKit."""
    build = ["docker", "build", "--quiet", "--build-arg", "PYTHON_IMAGE", "--file", "airflow/Dockerfile", "."]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        build, cwd=stack.folder, env=environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    docker("image", "rm", done.stdout.strip())


def test_compose_ui_and_api_answer_with_the_generated_password_and_refuse_without(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.variables['AIRFLOW_PORT']}"
    assert stack.api.dags()["yellow_to_lake"] is False
    assert requests.get(f"{url}/api/v2/dags", timeout=10).status_code == 401
    for password in ("admin", "airflow", ""):
        body = {"username": "admin", "password": password}
        assert requests.post(f"{url}/auth/token", json=body, timeout=10).status_code in (400, 401, 422)


def test_compose_flower_answers_with_the_generated_password_and_refuses_without(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.variables['FLOWER_PORT']}/workers?json=1"
    password = stack.read("flower", "/run/taxiway/flower/flower_password")
    assert requests.get(url, timeout=10).status_code == 401
    assert requests.get(url, auth=("admin", "flower"), timeout=10).status_code == 401
    answer = requests.get(url, auth=("admin", password), timeout=10)
    assert answer.status_code == 200
    assert "celery@" in answer.text


def test_compose_shows_dags_and_flower_in_a_browser(stack: Stack, tmp_path: Path) -> None:
    from browser import Browser

    airflow, flower = (f"127.0.0.1:{stack.variables[name]}" for name in ("AIRFLOW_PORT", "FLOWER_PORT"))
    try:
        installed = Browser.installed()
    except pytest.skip.Exception as reason:
        pytest.fail(str(reason))
    with installed as browser:
        browser.sign_in(f"http://{airflow}", "admin", stack.api.password)
        assert "yellow_to_warehouse" in browser.text_of(f"http://{airflow}/dags", "yellow_to_lake")
        browser.screenshot(_pictures(tmp_path) / "compose-airflow.png")
        browser.open_frame(f"http://{airflow}/plugin/coverage", "[aria-busy=false]")
        browser.screenshot(_pictures(tmp_path) / "compose-coverage.png")
        loaded = {
            m for (name, m), row in rows(stack).items() if name == "yellow" and row["state"] == "loaded"
        }
        shown = " ".join(browser.labels("#of-yellow .cell.L.sample"))
        assert loaded
        assert all(f"yellow {month}: loaded" in shown for month in loaded)
        browser.open_frame(
            f"http://{airflow}/plugin/coverage/taxiway/dataset?name=yellow", "[aria-busy=false]"
        )
        assert "row_count (stop)" in browser.content()
        browser.screenshot(_pictures(tmp_path) / "compose-dataset.png")
        password = stack.read("flower", "/run/taxiway/flower/flower_password")
        assert "celery@" in browser.text_of(f"http://admin:{password}@{flower}/workers", "celery@")
        browser.screenshot(_pictures(tmp_path) / "compose-flower.png")


def _pictures(otherwise: Path) -> Path:
    return Path(os.environ.get("TAXIWAY_PICTURES", otherwise))


def test_compose_containers_are_confined(stack: Stack) -> None:
    for name, facts in stack.inspect().items():
        host, service = facts["HostConfig"], facts["Config"]["Labels"]["com.docker.compose.service"]
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["ReadonlyRootfs"], name
        assert 2**30 <= host["Memory"] <= 3 * 2**30, name
        assert 256 <= host["PidsLimit"] <= 1024, name
        assert not host["Privileged"], name
        bound = [port["HostIp"] for ports in (host["PortBindings"] or {}).values() for port in ports]
        assert set(bound) <= {"127.0.0.1"}, name
        user, group = facts["Config"]["User"].split(":")
        assert group == "0", name
        assert (user == "0") == (service == "prepare"), name
        assert not host["CapAdd"] or service == "prepare", name


def test_compose_gives_the_credential_file_to_what_runs_tasks_alone(stack: Stack) -> None:
    having = {
        facts["Config"]["Labels"]["com.docker.compose.service"]
        for facts in stack.inspect().values()
        if any(mount["Destination"] == "/run/secrets/google_credentials" for mount in facts["Mounts"])
    }
    assert having == TASKS_RUN_IN


def test_compose_workers_have_no_credentials_of_airflows_database_and_cannot_reach_it(stack: Stack) -> None:
    worker = stack.inspect()["airflow-worker-1"]
    mounted = {mount.get("Name", "").removeprefix(f"{stack.name}_") for mount in worker["Mounts"]} - {""}
    assert mounted == {"settings", "broker-secrets", "taxi-secrets", "emulator-secrets", "google-secrets"}
    reach = "exec 3<>/dev/tcp/{}"
    shell = ("exec", "-T", "airflow-worker", "bash", "-c")
    stack.compose(*shell, reach.format("taxi-postgres/5432"))
    assert stack.compose(*shell, reach.format("postgres/5432"), code=1)
    stack.compose(*shell, reach.format("redis/6379"))
    assert stack.compose("exec", "-T", "bigquery", "bash", "-c", reach.format("redis/6379"), code=1)
    inspected = ("network", "inspect", *(f"{stack.name}_{name}" for name in ("metadata", "broker")))
    assert [network["Internal"] for network in json.loads(docker(*inspected))] == [True, True]
    environment = stack.compose("exec", "-T", "airflow-worker", "cat", "/proc/1/environ").split("\0")
    assert not [v for v in environment if "JWT_SECRET" in v or "FERNET" in v or "metadata_dsn" in v]


def test_compose_secrets_are_in_no_inspection_history_log_or_process_list(stack: Stack) -> None:
    secrets = _secrets(stack)
    assert len(secrets) >= 8
    assert all(len(secret) >= 32 for secret in secrets)
    ids = stack.containers()
    images = [f"taxiway-{image}:{stack.name}" for image in ("airflow", "local")]
    places = {"inspect": docker("inspect", *ids), "processes": _process_lists(ids)}
    for image in images:
        places[f"image {image}"] = docker("history", "--no-trunc", image) + docker("inspect", image)
    for container in ids:
        places[f"log {container}"] = docker("logs", container)
    for file in (stack.folder / "logs").rglob("*.log"):
        places[str(file)] = file.read_text(errors="replace")
    assert len(places) > 20
    assert not [(place, secret[:4]) for place, text in places.items() for secret in secrets if secret in text]


def _secrets(stack: Stack) -> list[str]:
    """The originals, which no service but the first ever sees."""
    mounts = ("-v", f"{stack.name}_vault:/vault:ro", "-u", "0", "--entrypoint", "bash")
    show = 'for file in /vault/*; do cat "$file"; echo; done'
    return docker("run", "--rm", *mounts, f"taxiway-airflow:{stack.name}", "-c", show).split()


def _process_lists(ids: list[str]) -> str:
    return "".join(
        subprocess.run(["docker", "top", container, "-eo", "args"], capture_output=True, text=True).stdout
        for container in ids
    )


def test_compose_task_logs_are_read_through_the_api_and_on_the_host(stack: Stack) -> None:
    run = stack.api.runs(["yellow_to_postgres"])[0]
    path = f"/dags/yellow_to_postgres/dagRuns/{run['dag_run_id']}/taskInstances/load_postgres/logs/1"
    log = stack.api._call("GET", path, params={"full_content": True})["content"]
    assert any("yellow" in str(entry) for entry in log)
    file = next(
        (stack.folder / "logs").glob(f"dag_id=yellow_to_postgres/run_id={run['dag_run_id']}/**/attempt=1.log")
    )
    assert "yellow" in file.read_text()
    assert (stack.folder / "logs" / "airflow-scheduler.log").stat().st_size > 0


def test_compose_loads_a_month_that_is_requested_through_the_api(stack: Stack) -> None:
    month = ("yellow", "2024-03")
    stack.api.trigger("yellow_to_lake", "2024-03", {"publication_timeout": 10})
    eventually(lambda: rows(stack).get(month, {}).get("state") == "loaded", 300, "2024-03 is loaded")
    row = rows(stack)[month]
    assert row["typed_rows"] + row["quarantined_rows"] == ROWS


def test_compose_tasks_go_to_the_queue_and_the_pool_of_their_kind(stack: Stack) -> None:
    dags = ["yellow_to_lake", "yellow_to_postgres", "yellow_to_warehouse"]
    runs = [run["dag_run_id"] for run in stack.api.runs(dags)]
    found = {t["task_id"]: (t["pool"], t["queue"]) for t in stack.api.task_instances(dags, runs)}
    expected = {
        "wait_until_published": "default_pool", "download": "download", "conform": "conform",
        "publish": "publish_yellow", "load_postgres": "postgres",
    }  # fmt: skip
    assert expected.items() <= {task: pool for task, (pool, _) in found.items()}.items()
    assert {queue for _, queue in found.values()} == {"default", "download", "load"}
    assert [task for task, (pool, queue) in found.items() if queue != queue_of(pool)] == []
    pools = {p["name"]: p for p in stack.api._call("GET", "/pools", params={"limit": 100})["pools"]}
    for name, pool in POOLS.items():
        assert (pools[name]["slots"], pools[name]["include_deferred"]) == (pool.slots, pool.include_deferred)


def test_compose_a_worker_may_serve_one_queue_alone(stack: Stack) -> None:
    downloads = replace(stack, variables={**stack.variables, "TAXIWAY_QUEUES": "download"})
    container = downloads.compose("run", "--detach", "airflow-worker").split()[-1]
    try:
        eventually(lambda: len(_queues_served(stack)) == 2, 180, "Flower sees two workers")
        assert sorted(_queues_served(stack).values()) == [["default", "download", "load"], ["download"]]
    finally:
        docker("rm", "--force", container)


def _queues_served(stack: Stack) -> dict[str, list[str]]:
    """The queues of each worker, as Flower shows them."""
    url = f"http://127.0.0.1:{stack.variables['FLOWER_PORT']}/api/workers?refresh=true"
    password = stack.read("flower", "/run/taxiway/flower/flower_password")
    answer = requests.get(url, auth=("admin", password), timeout=30)
    assert answer.ok, answer.text
    return {
        worker: sorted(queue["name"] for queue in facts["active_queues"])
        for worker, facts in answer.json().items()
    }


def test_compose_up_again_changes_nothing(stack: Stack) -> None:
    before = rows(stack)
    stack.compose("up", "--detach", "--wait")
    assert rows(stack) == before
    assert "nothing to do" in stack.logs("loader")


def test_compose_scales_to_two_workers_and_a_killed_ones_task_is_retried_on_the_other(stack: Stack) -> None:
    (stack.folder / "dags" / "slow.py").write_text(SLOW_DAG)
    two = ("--no-recreate", "--scale", "airflow-worker=2")
    timed("scaled to two workers", lambda: stack.compose("up", "--detach", "--wait", *two))
    assert len(stack.containers("airflow-worker")) == 2
    eventually(lambda: "slow" in stack.api.dags(), 180, "the DAG slow is seen")
    stack.api.unpause("slow")
    run = stack.api.trigger("slow", None, {})["dag_run_id"]
    eventually(lambda: _slow(stack, run)["state"] == "running", 180, "the task runs")
    victim = _slow(stack, run)["hostname"]
    docker("kill", victim)
    took = eventually(lambda: _slow(stack, run)["state"] == "success", 90, "the task is retried")
    task = _slow(stack, run)
    assert task["try_number"] == 2
    assert task["hostname"] != victim
    note("killed worker to retried and done", took, "s")
    assert took < 60
    (stack.folder / "dags" / "slow.py").unlink()


def _slow(stack: Stack, run: str) -> dict[str, Any]:
    found = stack.api.task_instances(["slow"], [run])
    return found[0] if found else {"state": None, "hostname": ""}


def test_compose_cleans_up_old_logs_and_metadata(stack: Stack) -> None:
    old = stack.folder / "logs" / "dag_id=gone" / "attempt=1.log"
    old.parent.mkdir()
    old.write_text("long ago\n")
    old.parent.chmod(0o777)
    os.utime(old, (0, 0))
    stack.compose("run", "--rm", "-T", "--no-deps", "janitor", "once")
    assert not old.exists()
    assert (stack.folder / "logs" / "airflow-scheduler.log").exists()
    assert stack.api.runs(["yellow_to_lake"])
    stack.compose("run", "--rm", "-T", "--no-deps", "-e", "TAXIWAY_KEEP_DAYS=0", "janitor", "once")
    assert stack.api.runs(["yellow_to_lake"]) == []


def test_compose_down_leaves_nothing_but_logs_that_their_owner_removes_without_being_root(
    stack: Stack,
) -> None:
    timed("down", lambda: stack.compose("down", "--volumes", "--remove-orphans"))
    assert stack.left() == []
    for port in stack.variables.values():
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{port}", timeout=2)
    logs = stack.folder / "logs"
    assert any(logs.rglob("attempt=1.log"))
    as_its_owner("rm", "-rf", str(logs))
    assert not logs.exists()
