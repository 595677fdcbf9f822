"""What every DAG of the product keeps to, and which DAGs there are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk import DAG
from product import DATASETS
from repository import REPOSITORY

from elt.catalogue import registry
from elt.orchestration.dbt import DbtOperator, DbtProject
from elt.orchestration.operators import PublishedSensor, SourceCheckOperator, StageOperator
from elt.orchestration.pools import POOLS

DAG_FILES = sorted([*REPOSITORY.glob("dags/*.py"), *REPOSITORY.glob("dags_local/*.py")])
FAMILIES = ("source_check", "to_lake", "to_warehouse", "to_postgres", "bulk_load")
HEAVY = {"google.cloud", "pandas", "pyarrow", "psycopg", "requests", "airflow.providers.google.cloud"}


def test_the_product_has_exactly_these_dags_and_every_other_dataset_its_own(dags: dict[str, DAG]) -> None:
    possible = {f"{name}_{family}" for name in registry.DATASETS for family in FAMILIES}
    others = {f"{name}_{family}" for name in registry.DATASETS.keys() - DATASETS for family in FAMILIES}
    others |= {f"{project.name}_dbt" for project in DbtProject.of_packages()} - {"nyc_taxi_dbt"}
    # What has no periods is one file, and one load.
    possible -= {f"{name}_bulk_load" for name, ds in registry.DATASETS.items() if not ds.every}
    assert set(dags) - others == (possible | {"nyc_taxi_dbt"}) - others
    assert {f"{name}_to_lake" for name in registry.DATASETS} <= set(dags)


def test_every_dag_explains_itself(dags: dict[str, DAG]) -> None:
    undocumented = [dag_id for dag_id, dag in dags.items() if len(dag.doc_md or "") < 100]
    assert not undocumented, "give each a doc_md that says what its tasks do"


def test_every_task_is_retried_with_backoff(dags: dict[str, DAG]) -> None:
    for task in [task for dag in dags.values() for task in dag.tasks]:
        assert task.retries >= 2, f"{task}: **dag_defaults() is missing"
        assert task.retry_exponential_backoff, f"{task}: **dag_defaults() is missing"


def test_every_pool_that_a_task_names_is_created_at_start(dags: dict[str, DAG]) -> None:
    named = {task.pool for dag in dags.values() for task in dag.tasks}
    assert named <= {"default_pool", *POOLS}, (
        "add the pool to elt.orchestration.pools.POOLS, or the task waits for ever"
    )
    assert set(POOLS) <= named, "a pool that no task names"


def test_what_publishes_to_one_table_runs_alone_even_while_its_job_runs(dags: dict[str, DAG]) -> None:
    ends = ("publish", "mart", "warehouse")
    publishing = [task for dag in dags.values() for task in dag.tasks if task.task_id in ends]
    assert publishing
    assert {(POOLS[task.pool].slots, POOLS[task.pool].include_deferred) for task in publishing} == {(1, True)}
    marts = {task.pool for task in publishing if task.task_id == "mart"}
    assert len(marts) == 1, "all datasets feed the same tables"


def test_no_other_task_that_waits_for_a_job_holds_a_slot(dags: dict[str, DAG]) -> None:
    waiting = {task.pool for dag in dags.values() for task in dag.tasks if task.task_id in ("stage", "audit")}
    assert waiting == {"default_pool"}
    alone = {name for name, pool in POOLS.items() if pool.include_deferred}
    assert all(name == "mart" or name.startswith("publish_") for name in alone)


def test_every_task_reaches_google_by_the_hooks_or_is_named_here(dags: dict[str, DAG]) -> None:
    """dbt reads a profile, which `scripts/dbt` makes of the same connection's variable."""
    hooked = (StageOperator, PublishedSensor, SourceCheckOperator)
    others = [task for dag in dags.values() for task in dag.tasks if not isinstance(task, hooked)]
    assert {type(task) for task in others} <= {DbtOperator}


def test_the_tasks_are_in_the_documented_order(dags: dict[str, DAG]) -> None:
    def order(dag_id: str) -> list[str]:
        return [task.task_id for task in dags[dag_id].topological_sort()]

    assert order("yellow_to_lake") == ["wait_until_published", "download", "conform"]
    assert order("yellow_to_warehouse") == ["stage", "audit", "publish", "mart"]
    assert order("yellow_to_postgres") == ["download", "load_postgres"]
    assert order("zones_to_lake") == ["wait_until_published", "download", "conform"]
    assert order("zones_to_warehouse") == ["stage", "audit", "publish"]
    assert set(order("yellow_bulk_load")) == {"lake", "warehouse", "mart", "postgres"}


def test_a_bulk_load_keeps_to_the_pools_of_single_ones_and_starts_none_of_them(dags: dict[str, DAG]) -> None:
    bulk, single = dags["yellow_bulk_load"], dags["yellow_to_warehouse"]
    assert bulk.get_task("warehouse").pool == single.get_task("publish").pool
    assert bulk.get_task("mart").pool == single.get_task("mart").pool
    assert bulk.get_task("warehouse").outlets == single.get_task("publish").outlets
    assert bulk.get_task("mart").outlets == single.get_task("mart").outlets
    followed = {dags[f"yellow_{name}"].timetable.asset_condition for name in ("to_warehouse", "to_postgres")}
    announced = {asset for task in bulk.tasks for asset in task.outlets}
    assert not {asset.name for asset in announced} & {asset.name for asset in followed}
    assert {task.trigger_rule for task in bulk.tasks} == {"none_failed"}, "what was done before is skipped"
    assert bulk.get_task("mart").upstream_task_ids == {"warehouse"}
    assert bulk.get_task("postgres").upstream_task_ids == bulk.get_task("warehouse").upstream_task_ids


def test_consumers_run_on_the_assets_that_the_lake_announces(dags: dict[str, DAG]) -> None:
    announced = {o.name for task in dags["yellow_to_lake"].tasks for o in task.outlets}
    assert announced == {"yellow_raw", "yellow_typed"}
    consumers = ("yellow_to_warehouse", "yellow_to_postgres")
    followed = {dags[dag_id].timetable.asset_condition.name for dag_id in consumers}
    assert followed == announced


def test_dbt_runs_after_the_tables_that_its_project_reads_and_makes_its_models(dags: dict[str, DAG]) -> None:
    dag = dags["nyc_taxi_dbt"]
    assert [asset.name for asset in dag.timetable.asset_condition.objects] == ["yellow_table"]
    assert [asset.name for asset in dag.get_task("build").inlets] == ["yellow_table", "zones_table"]
    made = {asset.name for asset in dag.get_task("build").outlets}
    assert made == {
        "stg_yellow_trips",
        "stg_zones",
        "fct_daily_trips",
        "monthly_zone_revenue",
        "monthly_payments",
    }
    # Whoever has not asked for it installs no dbt; one run at a time lets the last do the work of all.
    assert (dag.is_paused_upon_creation, dag.max_active_runs) == (True, 1)


@pytest.mark.parametrize("file", DAG_FILES, ids=lambda file: file.stem)
def test_a_dag_file_only_wires(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) <= 80, "move logic to plugins/elt"
    imported = {
        name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert all(name.startswith(("airflow.sdk", "elt")) for name in imported), imported


def test_parsing_all_dag_files_imports_nothing_heavy() -> None:
    """In a fresh interpreter. Seconds are the benchmark's business; modules are what they come from."""
    code = f"""
import sys, importlib.util
import airflow.sdk
sys.path.insert(0, {str(REPOSITORY / "plugins")!r})
for number, file in enumerate({[str(file) for file in DAG_FILES]!r}):
    spec = importlib.util.spec_from_file_location(f"dag_file_{{number}}", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(*sorted(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    modules = done.stdout.split()
    assert "elt.orchestration.operators" in modules
    assert not [m for m in modules if any(m == h or m.startswith(f"{h}.") for h in HEAVY)]
