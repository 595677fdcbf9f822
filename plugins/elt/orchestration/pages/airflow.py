"""What the pages ask Airflow: who asks, what they may see, and which runs there are."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.utils.session import create_session

from elt.connections import Connections, EnvironmentConnections
from elt.errors import SettingError
from elt.orchestration.pages.app import SECONDS, Context, make
from elt.orchestration.pages.coverage import Run

if TYPE_CHECKING:
    from fastapi import FastAPI

    from elt.catalogue import Dataset
    from elt.sources import Source


class Airflow:
    """Airflow as this process has it: its auth manager and its database."""

    user = staticmethod(get_user)

    def readable(self, user: Any) -> set[str]:
        """The DAGs that a user may see."""
        return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")

    def may_run(self, user: Any, dag_id: str) -> bool:
        """Whether a user may trigger a DAG; Airflow's API asks the same when it is told to."""
        return get_auth_manager().is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=user
        )

    def may_read_results(self, user: Any, dag_id: str) -> bool:
        """Whether a user may see what a DAG's tasks have returned: rows are no less."""
        return get_auth_manager().is_authorized_dag(
            method="GET", access_entity=DagAccessEntity.XCOM, details=DagDetails(id=dag_id), user=user
        )

    def runs(self, dag_ids: Collection[str], key: str | None = None) -> Iterator[Run]:
        """The newest run of each of some DAGs and each partition (`key`: of one)."""
        from airflow.models.dagrun import DagRun
        from sqlalchemy import func, select

        among = [DagRun.dag_id.in_(dag_ids), *([DagRun.partition_key == key] if key else [])]
        newest = select(func.max(DagRun.id)).where(*among).group_by(DagRun.dag_id, DagRun.partition_key)
        columns = (DagRun.dag_id, DagRun.run_id, DagRun.partition_key, DagRun.state)
        with create_session() as session:
            for dag_id, run_id, partition_key, state in session.execute(
                select(*columns).where(DagRun.id.in_(newest))
            ):
                yield Run(dag_id, run_id, partition_key or None, str(state))

    def paused(self, dag_ids: Collection[str]) -> list[str]:
        """Those of some DAGs that would not run if they were triggered."""
        from airflow.models.dag import DagModel
        from sqlalchemy import select

        with create_session() as session:
            found = select(DagModel.dag_id).where(DagModel.dag_id.in_(dag_ids), DagModel.is_paused)
            return sorted(session.scalars(found))


def app() -> FastAPI:
    """The pages over this process's Airflow and the connections of its tasks."""
    return make(Context(Airflow(), _connections))


class _Stores(EnvironmentConnections):
    """The stores that the platform's file of variables names; sources as Airflow itself knows them."""

    def source(self, dataset: Dataset) -> Source:
        from elt.orchestration.connections import source_of

        return source_of(dataset, self.settings)


def _connections() -> Connections:
    # Nobody waits for a page as long as for a load.
    variables = {**os.environ, "TAXI_JOB_SECONDS": str(int(SECONDS))}
    if file := os.environ.get("TAXIWAY_ENVIRONMENT"):
        # This server is started before there are stores. Without the hooks it stays 70 MB smaller, too.
        return _Stores({**_read(Path(file)), **variables})
    if not os.environ.get("GCP_GCS_BUCKET"):
        raise SettingError(
            "this API server does not know the stack's stores (GCP_GCS_BUCKET is not set where it runs). "
            "docs/pages.md says how to let it read them."
        )
    from elt.orchestration.connections import AirflowConnections
    from elt.settings import Settings

    return AirflowConnections(Settings.from_environment(variables))


def _read(file: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(file.read_text())
    except (OSError, ValueError):
        raise SettingError(f"the stack's variables are not in {file}. Call scripts/up again.") from None
    return found
