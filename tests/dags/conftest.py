"""The product's DAGs, parsed as Airflow's processor parses them."""

from __future__ import annotations

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from repository import REPOSITORY


@pytest.fixture(scope="session")
def dags() -> dict[str, DAG]:
    """All DAGs by their id; a file that does not import fails every test."""
    bags = [DagBag(REPOSITORY / folder) for folder in ("dags", "dags_local")]
    assert not [error for bag in bags for error in bag.import_errors.items()]
    return {dag_id: dag for bag in bags for dag_id, dag in bag.dags.items()}
