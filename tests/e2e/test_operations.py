"""What happens in the months after the first: backfills, republished and late months, failures and alerts.

All on a real Airflow, with a source that answers as the test says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import faulty_source
import psutil
import pytest
import receiver as webhook
from faulty_source import FaultySource
from receiver import SECRET, Receiver
from taxi import YELLOW, ZONES, ZONES_CSV, parquet, trips

from elt.periods import Partition
from taxiway.airflow.client import AirflowApi

pytestmark = [pytest.mark.e2e, pytest.mark.long]
ROWS = 500
MONTHS = ("2024-01", "2024-02")
FINAL = ("success", "failed")
# Seconds for what takes a few where nothing else runs.
PATIENCE = 400.0
PLACES = ("lake", "warehouse", "postgres")
STAGES: tuple[Any, ...] = ("raw", "typed", "warehouse", "mart", "postgres")
# A DAG of a user: a task that is killed, one whose worker is killed as well, and one with a defect.
OF_A_USER = '''
"""Tasks that end badly."""
import time

from airflow.sdk import DAG, task

from elt.orchestration.dag_defaults import dag_defaults

with DAG("badly", schedule=None, doc_md=__doc__, **dag_defaults()):

    @task(retries=0)
    def is_killed():
        time.sleep(300)

    @task(retries=0)
    def loses_its_worker():
        time.sleep(300)

    @task
    def has_a_defect():
        return {}["no such key"]

    is_killed()
    loses_its_worker()
    has_a_defect()
'''

# Entries of a user: a table, and what is none.
OWN = '''
"""Stations, and a plan of them."""

from elt.catalogue import Audit, Column, Dataset
from nyc_taxi.tlc import TLC

STATIONS = Dataset(
    name="stations", title="Stations", source=TLC, path="/stations.csv", table="stations", key="nr",
    audits=(Audit("row_count"), Audit("key_unique")),
    columns=(Column("nr", "int32", "Number of the station."), Column("name", "string", "Its name.")),
)
PLAN = Dataset(name="plan", title="Plan of the stations", source=TLC, path="/plan.svg")
'''


@pytest.fixture(scope="module")
def source() -> Iterator[FaultySource]:
    with faulty_source.running() as source:
        source.serve(ZONES, ZONES_CSV)
        for month in MONTHS:
            publish(source, month)
        yield source


def publish(source: FaultySource, month: str, seed: int = 0, rows: int = ROWS) -> None:
    source.serve(YELLOW.format(month), parquet(trips(month, rows, strays=3, seed=seed)))


@pytest.fixture(scope="module")
def lineage() -> Iterator[Receiver]:
    with webhook.running("/api/v1/lineage") as receiver:
        yield receiver


@pytest.fixture(scope="module")
def up(checkout: Any, source: FaultySource, lineage: Receiver) -> None:
    (checkout.folder / "dags" / "badly.py").write_text(OF_A_USER)
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("OPENLINEAGE_URL", lineage.address)
        checkout.command("up", "--source", source.url, "--months", f"{MONTHS[0]}..{MONTHS[-1]}")


@pytest.fixture(scope="module")
def api(up: None, checkout: Any) -> AirflowApi:
    url = next(part["url"] for part in checkout.status()["components"] if part["name"] == "api-server")
    return AirflowApi(url, (checkout.home / "secrets" / "admin_password").read_text())


@pytest.fixture(scope="module")
def alerts(up: None, checkout: Any) -> Iterator[Receiver]:
    with webhook.running() as receiver:
        set_webhook(checkout, receiver.url)
        yield receiver


def set_webhook(checkout: Any, url: str, code: int = 0) -> str:
    command = [checkout.folder / "scripts" / "alerts", "--set"]
    done = subprocess.run(command, input=url, capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


class Run:
    """A run of a DAG, watched: every state that each of its tasks was seen in."""

    def __init__(self, api: AirflowApi, dag_id: str, month: str | None, conf: Mapping[str, Any] = {}) -> None:
        self.api, self.dag_id = api, dag_id
        self.id = api.trigger(dag_id, month, conf)["dag_run_id"]
        self.states: dict[str, list[str | None]] = {}
        self.tries: dict[str, int] = {}

    def look(self) -> str:
        # The run first: tasks that are asked for after its end are at their ends, too.
        found = next(run for run in self.api.runs([self.dag_id]) if run["dag_run_id"] == self.id)
        for task in self.api.task_instances([self.dag_id], [self.id]):
            seen = self.states.setdefault(task["task_id"], [])
            self.tries[task["task_id"]] = task["try_number"]
            if seen[-1:] != [task["state"]]:
                seen.append(task["state"])
        return str(found["state"])

    def end(self, seconds: float = PATIENCE) -> str:
        deadline = time.monotonic() + seconds
        while (state := self.look()) not in FINAL:
            assert time.monotonic() < deadline, f"{self.dag_id} is still {state}: {self.states}"
            time.sleep(0.2)
        return state


def until(condition: Any, seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)
    return found


def settled(api: AirflowApi) -> bool:
    """Whether all that follows from what arrived in the lake has come to its end."""
    found = api._call("GET", "/assets/events", params={"limit": 100, "order_by": "-timestamp"})
    arrived = [event for event in found["asset_events"] if event["group"] == "lake"]
    followed = [{run["state"] for run in event["created_dagruns"]} for event in arrived]
    return all(states and states <= set(FINAL) for states in followed)


def checksums(checkout: Any, month: str) -> set[str]:
    """Of what each stage was made of, as the load log has them."""
    from elt.warehouse import load_log

    partition = Partition.parse("yellow", month)
    with checkout.connections.warehouse() as warehouse:
        log = load_log.latest(warehouse, [partition])
    return {log[partition, stage].origin.checksum for stage in STAGES}


def loaded(checkout: Any) -> dict[tuple[str, str | None], dict[str, Any]]:
    """The months of which all stores have the same rows of the same file."""
    return {key: row for key, row in checkout.datasets().items() if row["state"] == "loaded"}


# States


def test_a_task_goes_from_scheduled_to_success(api: AirflowApi) -> None:
    run = Run(api, "yellow_to_lake", MONTHS[0])
    assert run.end() == "success"
    order = [None, "scheduled", "queued", "running", "success"]
    for states in run.states.values():
        assert states == [state for state in order if state in states]


def test_a_transient_error_is_retried_and_passes(api: AirflowApi, source: FaultySource) -> None:
    content = parquet(trips("2024-03", ROWS))
    # The library itself asks four times before it calls it a transient error.
    source.serve_after_failures(YELLOW.format("2024-03"), content, failures=5, status=503)
    run = Run(api, "yellow_to_lake", "2024-03", {"publication_timeout": 60})
    assert run.end() == "success"
    assert "up_for_retry" in run.states["wait_until_published"]
    assert run.tries["wait_until_published"] == 2


def test_a_month_that_is_late_is_deferred_then_skipped_and_reported(
    api: AirflowApi, alerts: Receiver
) -> None:
    run = Run(api, "yellow_to_lake", "2025-01", {"publication_timeout": 4})
    assert run.end() == "success"
    states = run.states["wait_until_published"]
    assert "deferred" in states
    assert states[-1] == "skipped"
    assert run.states["conform"][-1] == "skipped"
    assert [text for text in about(alerts, "2025-01") if "not published" in text]
    log = task_log(api, run, "wait_until_published")
    assert "yellow 2025-01 is not published yet" in log


def task_log(api: AirflowApi, run: Run, task_id: str) -> str:
    path = f"/dags/{run.dag_id}/dagRuns/{run.id}/taskInstances/{task_id}/logs/{run.tries[task_id]}"
    return str(api._call("GET", path, params={"full_content": True})["content"])


# Failures and alerts


def test_a_file_that_is_refused_fails_at_once_and_is_reported(
    api: AirflowApi, alerts: Receiver, source: FaultySource
) -> None:
    source.serve_html(YELLOW.format("2025-02"))
    run = Run(api, "yellow_to_lake", "2025-02")
    assert run.end() == "failed"
    assert run.tries["wait_until_published"] == 1
    told = about(alerts, "2025-02")
    assert len(told) == 1
    assert "yellow_tripdata_2025-02.parquet: an HTML page instead of the file" in told[0]
    assert "wait_until_published" in told[0]
    assert api.url in told[0]


def test_killed_tasks_and_a_defect_are_reported_and_the_defect_is_tried_once_more(
    api: AirflowApi, alerts: Receiver, checkout: Any
) -> None:
    until(lambda: "badly" in api.dags())
    api.unpause("badly")
    run, killed = Run(api, "badly", None), ("is_killed", "loses_its_worker")
    until(lambda: run.look() and all(run.states[task][-1] == "running" for task in killed))
    tasks = {task["task_id"]: task["id"] for task in api.task_instances(["badly"], [run.id])}
    first, second = (until(lambda task=task: process_of(tasks[task])) for task in killed)
    for process in (first, second.parent(), second):
        process.send_signal(signal.SIGKILL)
    assert run.end() == "failed"
    assert run.tries == {"is_killed": 1, "loses_its_worker": 1, "has_a_defect": 2}
    told = until(lambda: texts if len(texts := about(alerts, "badly")) == 2 else None)
    defect, silent = sorted(told, key=lambda text: "is_killed" in text)
    assert "no such key" in defect
    assert "`has_a_defect` failed (try 2)" in defect
    assert "`is_killed`, `loses_its_worker` failed without an error message" in silent
    time.sleep(5)
    assert about(alerts, "badly") == told


def about(alerts: Receiver, words: str) -> list[str]:
    return [text for text in alerts.texts() if words in text]


def process_of(instance: str) -> psutil.Process | None:
    """The task itself, below its worker, once it has the task instance's id as its title.

    What it forks begins with the same title: for a moment there may be an OpenLineage event below it.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            worker = process.parent()
            if title(process) == f"airflow worker -- {instance}" and "LocalExecutor" in title(worker):
                return process
    return None


def title(process: psutil.Process | None) -> str:
    return " ".join(process.cmdline()).strip() if process else ""


def test_every_task_may_be_killed_once_and_all_is_as_if_none_had_been(api: AirflowApi, checkout: Any) -> None:
    until(lambda: settled(api))
    before, killed = traces(checkout), set[tuple[str, str]]()
    # Everything again, and so do those that follow.
    run = Run(api, "yellow_to_lake", MONTHS[0], {"force": True})
    started = next(found["run_after"] for found in api.runs([run.dag_id]) if found["dag_run_id"] == run.id)
    dags = [f"yellow_to_{place}" for place in PLACES]
    while run.look() not in FINAL or not settled(api):
        mine = [found["dag_run_id"] for found in api.runs(dags, run_after_gte=started)]
        for task in api.task_instances(dags, mine):
            name = (task["dag_id"], task["task_id"])
            if task["state"] == "running" and name not in killed and (process := process_of(task["id"])):
                process.kill()
                killed.add(name)
        time.sleep(0.1)
    ended = api.runs(dags, run_after_gte=started)
    assert {found["state"] for found in ended} == {"success"}
    tries = [
        task["try_number"] for task in api.task_instances(dags, [found["dag_run_id"] for found in ended])
    ]
    assert len(killed) >= 6, "nine tasks, each of which takes a second at least"
    assert 6 <= tries.count(2) <= len(killed)
    assert traces(checkout) == before


def traces(checkout: Any) -> dict[str, Any]:
    """All there is anywhere: objects, tables, rows; without times."""
    connections = checkout.connections
    with (
        connections.lake() as lake,
        connections.warehouse() as warehouse,
        connections.postgres() as connection,
    ):
        objects = {(stored.name, stored.size) for stored in lake.list("")}
        in_warehouse = warehouse.tables()
        in_postgres = set(connection.execute("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v')"))
    return {
        "objects": objects,
        "warehouse": in_warehouse,
        "postgres": in_postgres,
        "months": {key: {**row, "loaded_at": "", "run_id": ""} for key, row in checkout.datasets().items()},
    }


def test_a_webhook_that_fails_fails_nothing_and_its_address_is_nowhere(
    api: AirflowApi, alerts: Receiver, checkout: Any, source: FaultySource
) -> None:
    alerts.status = 500
    source.serve_html(YELLOW.format("2025-03"))
    run = Run(api, "yellow_to_lake", "2025-03")
    assert run.end() == "failed"
    alerts.status = 200
    assert "no alert was sent: the webhook answers 500" in task_log(api, run, "wait_until_published")
    logs = [
        file.read_text(errors="replace") for file in (checkout.home / "logs").rglob("*") if file.is_file()
    ]
    assert logs
    assert not [log for log in logs if SECRET in log]
    processes = subprocess.run(["ps", "auxwwe"], capture_output=True, text=True, check=True).stdout
    assert SECRET not in processes.replace(str(os.getpid()), "")


def test_an_address_that_does_not_answer_is_not_kept(checkout: Any, alerts: Receiver) -> None:
    assert "nothing was changed" in set_webhook(checkout, "http://127.0.0.1:1/services/x", code=1)
    assert "alerts are on" in checkout.command("alerts").stdout


# Source changes


def test_unchanged_months_cost_one_head_request_each(
    api: AirflowApi, checkout: Any, source: FaultySource
) -> None:
    # What follows asks the source as well.
    until(lambda: settled(api))
    source.requests.clear()
    run = Run(api, "yellow_source_check", None)
    assert run.end() == "success"
    in_the_lake = [
        month for (name, month), row in checkout.datasets().items() if name == "yellow" and row["raw_bytes"]
    ]
    assert sorted(source.requests) == sorted(("HEAD", YELLOW.format(month)) for month in in_the_lake)
    assert set(run.states["reload.download"]) <= {None, "skipped"}


def test_a_republished_month_is_reloaded_with_all_that_follows_from_it(
    api: AirflowApi, checkout: Any, source: FaultySource
) -> None:
    before = {month: checksums(checkout, month) for month in MONTHS}
    publish(source, MONTHS[1], seed=7, rows=ROWS + 11)
    assert Run(api, "yellow_source_check", None).end() == "success"
    until(lambda: len(found := checksums(checkout, MONTHS[1])) == 1 and found != before[MONTHS[1]])
    assert loaded(checkout)["yellow", MONTHS[1]]["warehouse_rows"] == ROWS + 11 - 3
    assert checksums(checkout, MONTHS[0]) == before[MONTHS[0]]


def test_the_command_reloads_what_has_changed_and_nothing_else(checkout: Any, source: FaultySource) -> None:
    before = {month: checksums(checkout, month) for month in MONTHS}
    publish(source, MONTHS[0], seed=9)
    done = checkout.command("run", "yellow", "--changed")
    assert "1 changed" in done.stderr
    assert len(checksums(checkout, MONTHS[0])) == 1
    assert checksums(checkout, MONTHS[0]) != before[MONTHS[0]]
    assert checksums(checkout, MONTHS[1]) == before[MONTHS[1]]
    assert "0 changed" in checkout.command("run", "yellow", "--changed").stderr


def test_force_loads_what_is_loaded(checkout: Any) -> None:
    before = checkout.datasets()["yellow", MONTHS[0]]
    checkout.command("run", "yellow", MONTHS[0], "--force")
    after = checkout.datasets()["yellow", MONTHS[0]]
    assert after["loaded_at"] > before["loaded_at"]
    assert {**after, "loaded_at": "", "run_id": ""} == {**before, "loaded_at": "", "run_id": ""}


# Backfill


def test_a_killed_run_is_continued_and_nothing_is_doubled(
    api: AirflowApi, checkout: Any, source: FaultySource
) -> None:
    months = [f"2023-{number:02}" for number in range(1, 5)]
    for month in months:
        publish(source, month)
    command = [checkout.folder / "scripts" / "run", "yellow", "2023-01..2023-04"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd="/") as first:
        assert first.stderr
        next(line for line in first.stderr if "running" in line)
        first.kill()
    checkout.command("run", "yellow", "2023-01..2023-04")
    assert {("yellow", month) for month in months} <= set(loaded(checkout))
    runs = [run["partition_key"] for run in api.runs(["yellow_to_lake"])]
    assert [runs.count(month) for month in months] == [1] * 4


def test_a_month_that_was_skipped_as_late_is_loaded_when_it_is_asked_for_again(
    api: AirflowApi, checkout: Any, source: FaultySource
) -> None:
    skipped = [run["state"] for run in api.runs(["yellow_to_lake"]) if run["partition_key"] == "2025-01"]
    assert skipped == ["success"], "of which Airflow thinks that all is done"
    publish(source, "2025-01")
    checkout.command("run", "yellow", "2025-01")
    assert ("yellow", "2025-01") in loaded(checkout)


def test_airflows_own_backfill_loads_months_newest_first(
    api: AirflowApi, checkout: Any, source: FaultySource
) -> None:
    months = ["2022-01", "2022-02", "2022-03"]
    for month in months:
        publish(source, month)
    asked = {
        "dag_id": "yellow_to_lake",
        "from_date": "2022-01-01T00:00:00Z",
        "to_date": "2022-03-31T00:00:00Z",
        "run_backwards": True,
        "max_active_runs": 1,
        "dag_run_conf": {},
    }
    api._call("POST", "/backfills", json=asked)
    until(lambda: all(("yellow", month) in loaded(checkout) for month in months))
    started = {run["partition_key"]: run["start_date"] for run in api.runs(["yellow_to_lake"])}
    assert sorted(months, key=started.__getitem__) == months[::-1]
    assert "nothing to do" in checkout.command("run", "yellow", "2022-01..2022-03").stderr


# Datasets of one's own


def test_datasets_that_are_added_while_the_platform_runs_are_loaded(
    api: AirflowApi, checkout: Any, source: FaultySource
) -> None:
    source.serve("/stations.csv", b"nr,name\n1,W 21 St\n2,E 14 St\n")
    source.serve("/plan.svg", b"<svg/>")
    (checkout.folder / "plugins" / "nyc_taxi" / "datasets" / "own.py").write_text(OWN)
    checkout.command("up", "--source", source.url, "--months", MONTHS[0])
    checkout.command("run", "stations", "plan")
    rows = loaded(checkout)
    stations = rows["stations", None]
    assert (stations["warehouse_rows"], stations["postgres_rows"]) == (2, 2)
    assert rows["plan", None]["raw_bytes"] == len(b"<svg/>")
    assert {dag_id for dag_id in api.dags() if dag_id.startswith("plan")} == {
        "plan_to_lake",
        "plan_source_check",
    }


def test_an_entry_that_is_wrong_is_named_and_costs_nothing_but_itself(up: None, checkout: Any) -> None:
    wrong = checkout.folder / "plugins" / "nyc_taxi" / "datasets" / "wrong.py"
    wrong.write_text(
        'from elt.catalogue import Dataset\n\nWRONG = Dataset("My Bikes!", "Bikes", "/bikes.csv")\n'
    )
    for command in (["status"], ["run", "zones"]):
        shown = checkout.command(*command).stderr
        assert "left out: plugins/nyc_taxi/datasets/wrong.py, line 3: dataset My Bikes!" in shown
    assert checkout.command("logs", "scheduler").stdout
    wrong.unlink()


# Lineage


def test_openlineage_hears_what_a_task_reads_and_makes(api: AirflowApi, lineage: Receiver) -> None:
    assert Run(api, "yellow_to_lake", MONTHS[0]).end() == "success"
    event = until(lambda: next(filter(is_complete_conform, lineage.messages), None))
    (read,), (made,) = event["inputs"], event["outputs"]
    assert read["namespace"] == made["namespace"]
    assert read["namespace"].startswith("gs://")
    assert (read["name"], made["name"]) == ("raw/yellow", "typed/yellow")
    assert made["outputFacets"]["outputStatistics"]["rowCount"] > 0


def is_complete_conform(event: Mapping[str, Any]) -> bool:
    return event["eventType"] == "COMPLETE" and event["job"]["name"] == "yellow_to_lake.conform"


# Another source


def test_the_same_months_of_another_source_are_loaded_again(api: AirflowApi, checkout: Any) -> None:
    """Generated rows never pass for real ones, nor the rows of one mirror for those of another."""
    before = checksums(checkout, MONTHS[0])
    with faulty_source.running() as other:
        other.serve(ZONES, ZONES_CSV)
        publish(other, MONTHS[0], seed=21, rows=ROWS + 5)
        up = ("up", "--source", other.url, "--months", MONTHS[0])
        checkout.command(*up)
        assert checksums(checkout, MONTHS[0]) != before
        assert loaded(checkout)["yellow", MONTHS[0]]["warehouse_rows"] == ROWS + 5 - 3
        assert "nothing to do" in checkout.command(*up).stderr
        assert "nothing to do" in checkout.command("up", "--months", MONTHS[0]).stderr, "it stays"
