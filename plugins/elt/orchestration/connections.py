"""Connections of Airflow's tasks: credentials, project and addresses as Airflow's connections give them.

Everything goes through the providers' hooks, so that what an Airflow user knows holds: a connection may come
from a variable, from Airflow's database or from a secrets backend; its project, key, impersonation and
anonymity are the hooks' business. Hooks are imported when they are used: they cost a second.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from elt.catalogue import Dataset
from elt.connections import (
    GOOGLE,
    POSTGRES,
    ConnectionFields,
    Source,
    http_source,
    postgres_parameters,
)
from elt.errors import SettingError
from elt.settings import Settings

if TYPE_CHECKING:
    import psycopg
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

    from elt.stores.bigquery import Warehouse
    from elt.stores.gcs import Lake


class AirflowConnections:
    """What a stage reaches the outside by, in a task (see `elt.connections.Connections`).

    `patience`: seconds to wait for a BigQuery job before JobRunningError. `submitted` is called with each
    job's project, location and id as soon as BigQuery has it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patience: float | None = None,
        submitted: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self._settings, self._patience, self._submitted = settings, patience, submitted

    @property
    def project(self) -> str:
        """The project that the connection `google_cloud_default` names, else that of its credentials."""
        project: str | None = self._bigquery.project_id
        if not project:
            raise SettingError(
                f"connection {GOOGLE} names no project, and its credentials belong to none. "
                'Put it into the connection\'s extra: {"project": "my-project"}.'
            )
        return project

    @property
    def has_postgres(self) -> bool:
        """Whether there is a connection `taxi_postgres`."""
        return find(POSTGRES) is not None

    def lake(self) -> Lake:
        """The stack's bucket, over the client of the provider's GCSHook."""
        from airflow.providers.google.cloud.hooks.gcs import GCSHook

        from elt.stores.gcs import Lake

        return Lake(GCSHook(gcp_conn_id=GOOGLE).get_conn(), self._settings.bucket)

    def warehouse(self) -> Warehouse:
        """The stack's dataset, over the client of the provider's BigQueryHook."""
        from elt.stores.bigquery import Warehouse

        client = self._bigquery.get_client(project_id=self.project, location=self._settings.location)
        return Warehouse(client, self._settings, patience=self._patience, submitted=self._submitted)

    def postgres(self) -> AbstractContextManager[psycopg.Connection]:
        """The Postgres of the connection `taxi_postgres`; SettingError where there is none."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        from elt.stores.postgres import connect
        ...

    def source(self, dataset: Dataset) -> Source:
        """The source of a dataset, by the connection that its entry names."""
        return http_source(dataset, find(dataset.source_connection))

    @cached_property
    def _bigquery(self) -> BigQueryHook:
        from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

        return BigQueryHook(gcp_conn_id=GOOGLE, use_legacy_sql=False, location=self._settings.location)


def find(connection: str) -> ConnectionFields | None:
    """An Airflow connection's fields; None where there is no such connection."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        return None
    fields: dict[str, Any] = {
        name: getattr(found, name) or "" for name in ("conn_type", "host", "schema", "login", "password")
    }
    return ConnectionFields(**fields, port=found.port, extra=found.extra_dejson)
