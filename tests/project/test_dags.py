"""Every DAG of this project imports, is named once, and keeps to what the platform needs of it."""

from __future__ import annotations

from airflow.sdk import DAG

from elt.orchestration.pools import POOLS
from taxiway.airflow.bootstrap import expected_dags


def test_every_dataset_has_its_dags(dags: dict[str, DAG]) -> None:
    assert {dag_id for ids in expected_dags().values() for dag_id in ids} <= dags.keys()


def test_every_pool_that_a_task_names_is_there(dags: dict[str, DAG]) -> None:
    # Else the task waits for ever: add the pool in Airflow, or to elt.orchestration.pools.
    assert {task.pool for dag in dags.values() for task in dag.tasks} <= {"default_pool", *POOLS}


def test_no_dag_catches_up_by_accident(dags: dict[str, DAG]) -> None:
    ours = {dag_id for ids in expected_dags().values() for dag_id in ids}
    assert [dag_id for dag_id, dag in dags.items() if dag.catchup and dag_id not in ours] == []
