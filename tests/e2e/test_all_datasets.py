"""Every dataset of the catalogue, month by month, through the scheduler, into every store.

Two months by default. Twenty-four, as a load test (figures go to all-datasets.json below pytest's folder):

    TAXIWAY_MONTHS=24 scripts/test tests/e2e/test_all_datasets.py
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from emulators import Service

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.layout import typed_object
from elt.orchestration.pools import POOLS
from elt.periods import Month
from elt.stores.bigquery import Warehouse
from elt.stores.gcs import Lake
from taxiway.airflow.client import AirflowApi
from taxiway.transforming.dbt import DBT

COUNT = int(os.environ.get("TAXIWAY_MONTHS", "2"))
ROWS = int(os.environ.get("TAXIWAY_ROWS", "300"))
LAST = Month(2024, 12)
MONTHS = [LAST.shift(n - COUNT + 1) for n in range(COUNT)]
MONTHLY = [entry for entry in DATASETS.values() if entry.every]
EXPECTED = {(entry.name, str(month)) for entry in MONTHLY for month in MONTHS} | {
    (entry.name, None) for entry in DATASETS.values() if not entry.every
}
PATIENCE = 300 + 120 * COUNT * len(MONTHLY)

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(2 * PATIENCE)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The sample source with so few rows that what is measured is the platform."""
    options = ("--rows", str(ROWS), "--first", str(MONTHS[0]), "--last", str(MONTHS[-1]))
    with Service("tlc_sample", tmp_path_factory.mktemp("source"), options) as running:
        yield running.wait_until_healthy().url


@pytest.fixture(scope="module")
def loaded(checkout: Any, source: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `run all` said and took."""
    checkout.command("up", "--source", source, "--months", str(MONTHS[0]))
    started = time.monotonic()
    shown = run_all(checkout)
    took = round(time.monotonic() - started, 1)
    tasks = tasks_of(api_of(checkout))
    figures = {**overhead(tasks), "seconds": took, "at_once": at_once(tasks)}
    folder = tmp_path_factory.mktemp("figures")
    (folder / "all-datasets.json").write_text(json.dumps(figures, indent=2))
    return {"shown": shown, **figures}


def run_all(checkout: Any, *options: str) -> str:
    words = ["all", f"{MONTHS[0]}..{MONTHS[-1]}", *options]
    command = [checkout.folder / "scripts" / "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stderr


def api_of(checkout: Any) -> AirflowApi:
    url = next(part["url"] for part in checkout.status()["components"] if part["name"] == "api-server")
    return AirflowApi(url, (checkout.home / "secrets" / "admin_password").read_text())


def tasks_of(api: AirflowApi) -> list[dict[str, Any]]:
    """Every task that has done its work, of every run."""
    kinds = [f"{name}_to_{place}" for name in DATASETS for place in ("lake", "warehouse", "postgres")]
    known = [dag_id for dag_id in kinds if dag_id in api.dags()]
    runs = [run["dag_run_id"] for run in api.runs(known)]
    return [
        task
        for start in range(0, len(runs), 100)
        for task in api.task_instances(known, runs[start : start + 100])
        if task["state"] == "success"
    ]


def overhead(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """How long tasks ran, and how long they waited from being scheduled to running."""
    waited = [seconds(task["start_date"]) - seconds(task["scheduled_when"]) for task in tasks]
    return {
        "months": COUNT,
        "datasets": len(MONTHLY),
        "rows_a_month": ROWS,
        "runs": len({(task["dag_id"], task["dag_run_id"]) for task in tasks}),
        "tasks": len(tasks),
        "task_seconds": round(sum(task["duration"] or 0 for task in tasks), 1),
        "median_task_seconds": round(sorted(task["duration"] or 0 for task in tasks)[len(tasks) // 2], 2),
        "median_wait_seconds": round(sorted(waited)[len(waited) // 2], 2),
        "tries": max(task["try_number"] for task in tasks),
    }


def at_once(tasks: list[dict[str, Any]]) -> dict[str, int]:
    """How many tasks of each pool ran at the same time at most."""
    most: dict[str, int] = {}
    for pool in {task["pool"] for task in tasks}:
        mine = [task for task in tasks if task["pool"] == pool]
        begun = [(seconds(task["start_date"]), 1) for task in mine]
        ended = [(seconds(task["end_date"]), -1) for task in mine]
        # One that begins when another ends takes its slot.
        steps = itertools.accumulate(step for _, step in sorted([*begun, *ended]))
        most[pool] = max(steps)
    return most


def seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def test_every_month_of_every_dataset_is_in_every_store(loaded: dict[str, Any], checkout: Any) -> None:
    rows = checkout.datasets()
    assert len(MONTHLY) >= 4
    assert set(rows) == EXPECTED
    assert {row["state"] for row in rows.values()} == {"loaded"}
    for (name, month), row in rows.items():
        if month:
            assert row["typed_rows"] + row["quarantined_rows"] == ROWS, (name, month)


def test_no_pool_lets_more_happen_at_once_than_it_has_slots(loaded: dict[str, Any]) -> None:
    most = loaded["at_once"]
    assert set(POOLS) - {"source"} <= set(most)
    assert {
        pool: (n, POOLS[pool]) for pool, n in most.items() if pool in POOLS and n > POOLS[pool].slots
    } == {}


def test_lake_warehouse_and_postgres_hold_the_same_rows(loaded: dict[str, Any], checkout: Any) -> None:
    connections, compared = checkout.connections, 0
    with (
        connections.lake() as stored,
        connections.warehouse() as warehouse,
        connections.postgres() as postgres,
    ):
        for name, text in sorted(EXPECTED, key=str):
            entry, month = DATASETS[name], Month.parse(text) if text else None
            lake = digest(in_lake(stored, entry, month))
            assert lake == digest(in_warehouse(warehouse, entry, month)), (name, text)
            if entry.postgres:
                assert lake == digest(in_postgres(postgres, entry, month)), (name, text)
            compared += 1
    assert compared == len(EXPECTED)


def test_a_second_pass_changes_nothing(loaded: dict[str, Any], checkout: Any) -> None:
    before = checkout.datasets()
    assert "nothing to do" in run_all(checkout)
    scans = [line for line in run_all(checkout, "--changed").splitlines() if " checked, " in line]
    assert len(scans) == len(DATASETS)
    assert all(" 0 changed" in line for line in scans)
    assert checkout.datasets() == before


def test_a_second_pass_of_airflow_itself_changes_nothing(loaded: dict[str, Any], checkout: Any) -> None:
    """One month of each dataset is done again, all the way."""
    before, api = checkout.datasets(), api_of(checkout)
    followers = [f"{e.name}_to_{p}" for e in MONTHLY for p in ("warehouse", "postgres")]
    known = [dag_id for dag_id in followers if dag_id in api.dags()]
    already = len(api.runs(known))
    for entry in MONTHLY:
        api.trigger(f"{entry.name}_to_lake", str(MONTHS[-1]), {})
    deadline = time.monotonic() + PATIENCE
    while len(runs := api.runs(known)) < already + len(known) or {r["state"] for r in runs} != {"success"}:
        assert time.monotonic() < deadline, [run for run in runs if run["state"] != "success"]
        time.sleep(1)
    assert checkout.datasets() == before


def test_dbt_computes_its_models_once_for_all_that_was_published(
    loaded: dict[str, Any], checkout: Any
) -> None:
    (checkout.folder / ".tools").mkdir(exist_ok=True)
    (checkout.folder / ".tools" / "dbt").symlink_to(DBT.installed())
    api, dbt = api_of(checkout), ["nyc_taxi_dbt"]
    assert api.runs(dbt) == []
    api.unpause(*dbt)
    for month in MONTHS:
        api.trigger("yellow_to_lake", str(month), {})
    deadline = time.monotonic() + PATIENCE
    while not built(api, dbt) or api.runs(["yellow_to_warehouse", *dbt], states=["queued", "running"]):
        assert time.monotonic() < deadline, api.runs(dbt)
        time.sleep(1)
    assert {run["state"] for run in api.runs(dbt)} == {"success"}
    with checkout.connections.warehouse() as warehouse:
        name = warehouse.name("monthly_payments")
        counted = f"SELECT source_month, SUM(trips) AS trips FROM {name} GROUP BY 1"
        trips = {
            f"{row['source_month']:%Y-%m}": row["trips"]
            for row in warehouse.query(counted, {}, {"app": "test"})
        }
    assert trips == {str(month): checkout.datasets()["yellow", str(month)]["typed_rows"] for month in MONTHS}


def built(api: AirflowApi, dbt: list[str]) -> bool:
    """Whether dbt has been called; the last run of several calls it."""
    tasks = api.task_instances(dbt, [run["dag_run_id"] for run in api.runs(dbt)])
    return any(task["state"] == "success" for task in tasks)


def digest(rows: Iterable[dict[str, Any]]) -> str:
    """SHA-256 of rows, whatever their order and that of their columns."""
    texts = sorted(repr(sorted((name, plain(value)) for name, value in row.items())) for row in rows)
    assert texts
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date) else value


def in_lake(lake: Lake, entry: Dataset, month: Month | None) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    stored = lake.find(typed_object(entry, month))
    assert stored
    with lake.fetch(stored) as file:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(file.read())).to_pylist()
    return rows


def in_warehouse(warehouse: Warehouse, entry: Dataset, month: Month | None) -> list[dict[str, Any]]:
    names = ", ".join(column.name for column in entry.columns)
    where = f"WHERE source_month = '{month.first_day()}'" if month else ""
    return warehouse.query(f"SELECT {names} FROM {warehouse.name(entry.table)} {where}", {}, {"app": "test"})


def in_postgres(connection: Any, entry: Dataset, month: Month | None) -> list[dict[str, Any]]:
    from psycopg.rows import dict_row

    names = ", ".join(column.name for column in entry.columns)
    where = f"WHERE source_month = '{month.first_day()}'" if month else ""
    with connection.cursor(row_factory=dict_row) as cursor:
        found: list[dict[str, Any]] = cursor.execute(f"SELECT {names} FROM {entry.table} {where}").fetchall()
    return found
