"""What every project's tests look at: its own catalogue, DAGs and infrastructure, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def dags() -> dict[str, DAG]:
    """All DAGs by their id; a file that does not import fails every test of them."""
    bags = [DagBag(PROJECT / folder) for folder in ("dags", "dags_local")]
    assert not [error for bag in bags for error in bag.import_errors.items()]
    return {dag_id: dag for bag in bags for dag_id, dag in bag.dags.items()}
