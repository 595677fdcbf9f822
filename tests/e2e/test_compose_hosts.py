"""Workers on two hosts of their own: other checkouts and Compose projects, other addresses on one link.

They reach one port at one address: that of the host which has the databases and the control plane. Its own
worker rests meanwhile. Short in `scripts/test --docker`, long as `scripts/test --hosts`.
"""

from __future__ import annotations

import io
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
import street
from chaos import differences, fingerprint
from compose_stack import SLOW_DAG, USER, Stack, as_its_owner, docker, eventually, fresh_clone, note

from taxiway.airflow.client import AirflowApi
from taxiway.compose import target
from taxiway.console.progress import Progress, Screen
from taxiway.loads import arguments
from taxiway.loads.service import Loads

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
INVITATION = ("exec", "-T", "gateway", "python", target.INVITATION)
UNPACK = """
cd "$0" && mkdir -p -m 700 .taxiway/invitation logs && tar -xf invitation.tar -C .taxiway/invitation
"""
ENDLESS = SLOW_DAG.replace('"slow"', '"endless"')
DAGS = ["yellow_to_lake", "yellow_to_warehouse", "yellow_to_postgres"]


@dataclass(frozen=True)
class Plan:
    """What is loaded meanwhile, a half of it at each blow, and how long a host is cut off at least."""

    months: Sequence[str]
    cut_seconds: float


SHORT = Plan(("2023-07..2023-08", "2023-09..2023-10"), 40)
LONG = Plan(("2022-01..2022-12", "2023-01..2023-12"), 90)


@dataclass(frozen=True)
class Host:
    """Another host, and its containers."""

    stack: Stack
    gateway: str
    worker: str


@pytest.fixture(scope="module")
def plan(pytestconfig: pytest.Config) -> Plan:
    return LONG if pytestconfig.getoption("--hosts") else SHORT


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    """What joins the hosts."""
    with street.street() as name:
        yield name


@pytest.fixture(scope="module")
def here(platform: Stack, link: str) -> Iterator[Stack]:
    """The platform, open for invited workers at one address of this machine."""
    address = street.central_address(link)
    with socket.socket() as probe:
        probe.bind((address, 0))
        gateway = {"TAXIWAY_ADDRESS": address, "GATEWAY_PORT": str(probe.getsockname()[1])}
    gateway |= {"GATEWAY_OFF": "", "TAXIWAY_LOGS_IN_LAKE": "true"}
    opened = replace(platform, variables={**platform.variables, **gateway})
    (platform.folder / "dags" / "endless.py").write_text(ENDLESS)
    opened.compose("up", "--detach", "--wait", "gateway", "airflow-api-server")
    try:
        yield opened
    finally:
        (platform.folder / "dags" / "endless.py").unlink()
        opened.compose("rm", "--stop", "--force", "gateway")
        platform.compose("up", "--detach", "--wait", "airflow-api-server", "airflow-worker")
        # Flower remembers workers that are gone.
        platform.compose("restart", "flower")
        platform.compose("up", "--detach", "--wait", "flower")
        password = platform.read("flower", "/run/taxiway/flower/flower_password")
        url = f"http://127.0.0.1:{platform.variables['FLOWER_PORT']}/workers?json=1"
        ask = lambda: requests.get(url, auth=("admin", password), timeout=30).text  # noqa: E731
        eventually(lambda: "celery@" in ask(), 60, "Flower sees the worker")


@pytest.fixture(scope="module")
def alone(here: Stack, plan: Plan) -> dict[str, Any]:
    """What every store holds once one machine has loaded the months of the plan."""
    for months in plan.months:
        assert load(here, months) == 0
    return fingerprint(here.connections)


@pytest.fixture(scope="module")
def hosts(here: Stack, link: str, alone: dict[str, Any]) -> Iterator[dict[str, Host]]:
    """The other hosts, each with what it was invited by."""
    here.compose("stop", "airflow-worker")
    with host(here, link, "north") as north, host(here, link, "south") as south:
        yield {"north": north, "south": south}


@contextmanager
def host(here: Stack, link: str, name: str) -> Iterator[Host]:
    begun = time.monotonic()
    given = {name: here.variables[name] for name in ("TAXIWAY_ADDRESS", "GATEWAY_PORT")}
    files = "docker-compose.yaml:airflow/compose.worker.yaml:street.yaml"
    own = {"AIRFLOW_UID": str(USER), "COMPOSE_FILE": files, "TAXIWAY_WORKER_CONCURRENCY": "2"}
    made = Stack(fresh_clone(name), {**given, **own})
    try:
        (made.folder / "street.yaml").write_text(street.OVERRIDE.format(name=link))
        shutil.copy(here.folder / "dags" / "endless.py", made.folder / "dags")
        (made.folder / "invitation.tar").write_text(here.compose(*INVITATION, "--name", name))
        as_its_owner("sh", "-c", UNPACK, str(made.folder))
        made.compose("up", "--detach", "--wait", "airflow-worker")
        found = Host(made, *(made.containers(service)[0] for service in ("gateway", "airflow-worker")))
        address, took = street.address(link, found.gateway), time.monotonic() - begun
        note(f"the host {name} has joined, with the address {address}", took, "s")
        yield found
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", code=None)
        shutil.rmtree(made.folder)


def load(here: Stack, months: str, *, force: bool = False) -> int:
    """As `scripts/run yellow MONTHS`; its exit code."""
    wanted = arguments.partitions(arguments.read(["yellow", months]))
    progress = Progress(Screen(file=io.StringIO()))
    return Loads(here.api, here.connections, progress).load(wanted, 20, again=force, force=force)


def task(api: AirflowApi, dag: str, run: str, task_id: str) -> dict[str, Any]:
    found = [t for t in api.task_instances([dag], [run]) if t["task_id"] == task_id]
    return found[0] if found else {"state": None, "hostname": ""}


def place(hosts: dict[str, Host], instance: dict[str, Any]) -> str:
    """The host on which a task is or was; empty if on none of them."""
    return next((n for n, h in hosts.items() if h.worker.startswith(instance["hostname"] or "nowhere")), "")


def test_the_log_of_a_task_on_another_host_is_shown_out_of_the_lake(
    here: Stack, hosts: dict[str, Host], plan: Plan
) -> None:
    api, month = here.api, plan.months[0].partition("..")[0]
    run = api.trigger("yellow_to_lake", month, {"force": True})["dag_run_id"]
    done = lambda: task(api, "yellow_to_lake", run, "conform")["state"] == "success"  # noqa: E731
    note("a month into the lake by another host", eventually(done, 300, f"{month} is in the lake"), "s")
    assert place(hosts, task(api, "yellow_to_lake", run, "conform")) in hosts
    path = f"/dags/yellow_to_lake/dagRuns/{run}/taskInstances/conform/logs/1"
    log = api._call("GET", path, params={"full_content": True})["content"]
    assert any("yellow" in str(entry) for entry in log), log
    assert not [*(here.folder / "logs").glob(f"dag_id=yellow_to_lake/run_id={run}/task_id=conform/*.log")]


def test_a_worker_has_no_more_than_it_was_invited_to(here: Stack, hosts: dict[str, Host]) -> None:
    there = hosts["north"].stack
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


@dataclass(frozen=True)
class Course:
    """A backfill over some hosts, and what happens to them meanwhile."""

    api: AirflowApi
    hosts: dict[str, Host]
    begun: datetime

    def say(self, what: str) -> None:
        note(f"backfill: {what}", (datetime.now(UTC) - self.begun).total_seconds(), "s")

    def endless(self) -> tuple[str, str]:
        """A run whose task does not end at its first try, and the host where it runs."""
        run = str(self.api.trigger("endless", None, {})["dag_run_id"])
        runs = lambda: task(self.api, "endless", run, "wait")["state"] == "running"  # noqa: E731
        eventually(runs, 180, "the task runs")
        found = place(self.hosts, task(self.api, "endless", run, "wait"))
        self.say(f"a task that would not end runs on {found}")
        return run, found

    def retried(self, run: str, host: str) -> None:
        """Until a task that has lost its host is done by another try."""
        wait = lambda: task(self.api, "endless", run, "wait")  # noqa: E731
        eventually(lambda: wait()["state"] != "running", 120, "the task is missed")
        self.say(f"the task on {host} is missed")
        eventually(lambda: wait()["state"] == "success", 180, "the task is tried again")
        self.say(f"it is done on {place(self.hosts, wait())}, at try {wait()['try_number']}")

    def tasks(self) -> list[dict[str, Any]]:
        """The task instances of the backfill that have begun."""
        runs = [run["dag_run_id"] for run in self.api.runs(DAGS, start_date_gte=self.begun.isoformat())]
        return [t for t in (self.api.task_instances(DAGS, runs) if runs else []) if t["hostname"]]

    def mid_task(self, name: str) -> None:
        """Until a host runs a task of the backfill beside the endless one.

        Its two slots have begun what they have taken, then: the rest would be given out again after minutes.
        """
        running = lambda: {place(self.hosts, t) for t in self.tasks() if t["state"] == "running"}  # noqa: E731
        eventually(lambda: name in running(), 180, f"a task of the backfill runs on {name}")
        self.say("a task of the backfill runs there, too")


def test_a_backfill_over_two_hosts_loads_what_one_machine_loads_though_one_is_cut_off_and_one_destroyed(
    here: Stack, hosts: dict[str, Host], link: str, plan: Plan, alone: dict[str, Any]
) -> None:
    eventually(lambda: "endless" in here.api.dags(), 180, "the DAG is seen")
    here.api.unpause("endless")
    course = Course(here.api, hosts, datetime.now(UTC))
    with ThreadPoolExecutor(1) as pool:

        def begin(months: str) -> Future[int]:
            course.say(f"{months} begin")
            return pool.submit(load, here, months, force=True)

        def end(loading: Future[int], months: str) -> None:
            assert loading.result(1800) == 0
            course.say(f"{months} are loaded")

        first, second = plan.months
        run, cut = course.endless()
        loading = begin(first)
        course.mid_task(cut)
        street.switch(link, hosts[cut].gateway, "down")
        course.say(f"the link of {cut} is down")
        off = time.monotonic()
        course.retried(run, cut)
        eventually(lambda: time.monotonic() - off > plan.cut_seconds, 2 * plan.cut_seconds, "cut off")
        street.switch(link, hosts[cut].gateway, "up")
        course.say(f"the link of {cut} is up again")
        end(loading, first)

        run, lost = course.endless()
        loading = begin(second)
        course.mid_task(lost)
        docker("kill", hosts[lost].worker, hosts[lost].gateway)
        course.say(f"{lost} is destroyed")
        course.retried(run, lost)
        end(loading, second)

    found = course.tasks()
    for name, count in sorted(Counter(place(hosts, t) for t in found).items()):
        note(f"backfill: tasks whose last try was on {name}", count, "")
    note("backfill: tasks that were tried again", sum(t["try_number"] > 1 for t in found), "")
    assert {t["state"] for t in found} <= {"success", "skipped"}
    assert {place(hosts, t) for t in found} == {"north", "south"}
    assert differences(alone, fingerprint(here.connections)) == []
    assert hosts.pop(lost).stack.compose("ps", "--quiet") == ""


def test_a_host_whose_invitation_is_taken_back_or_whose_code_is_other_is_kept_out_and_told(
    here: Stack, hosts: dict[str, Host]
) -> None:
    ((name, left),) = hosts.items()
    there = left.stack
    assert name in here.compose(*INVITATION, "--list").split()
    (there.folder / "dags" / "endless.py").write_text(f"{ENDLESS}\n")
    there.compose("up", "--detach", "airflow-worker", code=1)
    assert "other code than the platform's: dags/endless.py" in there.logs("admission")

    ping = "exec 3<>/dev/tcp/redis/6379; printf 'PING\\r\\n' >&3; read -r -t 10 <&3"
    shell = ("exec", "-T", "airflow-worker", "bash", "-c", ping)
    there.compose(*shell)
    here.compose(*INVITATION, "--revoke", name)
    there.compose(*shell, code=1)
    there.compose("up", "--detach", "airflow-worker", code=1)
    assert "its invitation is void" in there.logs("admission")
