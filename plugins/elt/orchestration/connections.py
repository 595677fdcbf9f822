"""The connections of Airflow's tasks: credentials, project and addresses as Airflow keeps them.

The providers' hooks read them, so that what an Airflow user knows holds: a connection may come from a
variable, Airflow's database or a secrets backend; its project, key, impersonation and anonymity mean what the
provider's documentation says. Hooks are imported when they are used: they cost a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from elt.catalogue import Dataset
from elt.connection_fields import ConnectionFields, postgres_parameters
from elt.connections import GOOGLE, POSTGRES, source_connection
from elt.errors import PermanentError, SettingError, first_line
from elt.periods import Period
from elt.settings import Settings
from elt.sources import Place, Source, base_of, open_source, reach

if TYPE_CHECKING:
    import psycopg
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
    from airflow.sdk import Connection
    from google.cloud.storage import Client

    from elt.stores.bigquery import Warehouse
    from elt.stores.gcs import Lake

_EXAMPLES = {
    GOOGLE: '{"conn_type": "google_cloud_platform", "extra": {"project": "my-project"}}',
    POSTGRES: '{"conn_type": "postgres", "host": "127.0.0.1", "schema": "taxi", "login": "taxi"}',
}


@dataclass(frozen=True)
class AirflowConnections:
    """What a stage reaches the outside by, in a task (see `elt.connections.Connections`).

    `patience`: seconds to wait for a BigQuery job before JobRunningError. `submitted` is called with project,
    location and id of each job as soon as BigQuery has it.
    """

    settings: Settings
    patience: float | None = None
    submitted: Callable[[str, str, str], None] | None = None

    @property
    def project(self) -> str:
        """The project that the connection `google_cloud_default` names, else that of its credentials."""
        with _explained(GOOGLE):
            project: str | None = self._bigquery.project_id
        if not project:
            raise SettingError(
                f"the Airflow connection {GOOGLE} names no project, and its credentials belong to none. "
                'Put it into the connection\'s extra, like {"project": "my-project"}.'
            )
        return project

    @property
    def has_postgres(self) -> bool:
        """Whether there is a connection `taxi_postgres`."""
        return find(POSTGRES) is not None

    def lake(self) -> Lake:
        """The stack's bucket, over the client of the provider's hook."""
        from elt.stores.gcs import Lake

        return Lake(_storage_client(GOOGLE), self.settings.bucket)

    def warehouse(self) -> Warehouse:
        """The stack's dataset, over the client of the provider's hook."""
        from elt.stores.bigquery import Warehouse

        with _explained(GOOGLE):
            client = self._bigquery.get_client(project_id=self.project, location=self.settings.location)
        return Warehouse(
            client,
            self.settings,
            patience=self.patience,
            submitted=self.submitted,
            # The variable that the client itself follows.
            emulated=bool(os.environ.get("BIGQUERY_EMULATOR_HOST")),
        )

    def postgres(self) -> AbstractContextManager[psycopg.Connection]:
        """The Postgres of the connection `taxi_postgres`; SettingError where there is none."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        from elt.stores.postgres import connect

        hook = PostgresHook(postgres_conn_id=POSTGRES)
        with _explained(POSTGRES):
            found = postgres_parameters(_fields(hook.connection))
        # What the provider knows and libpq does not, such as the kind of cursor.
        return connect(**{name: found[name] for name in found if name not in hook.ignored_extra_options})

    def source(self, dataset: Dataset) -> Source:
        """The source of a dataset, by the connection that its entry names."""
        return source_of(dataset, self.settings)

    @cached_property
    def _bigquery(self) -> BigQueryHook:
        from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

        return BigQueryHook(gcp_conn_id=GOOGLE, use_legacy_sql=False, location=self.settings.location)


def source_of(dataset: Dataset, settings: Settings | None = None) -> Source:
    """The source of a dataset: by the connection that its entry names, else at the entry's own address."""
    name = source_connection(dataset)
    found = find(name) if name else None
    return open_source(dataset, found, lambda: _storage_client(name if found and name else GOOGLE), settings)


def address_of(dataset: Dataset, period: Period | None) -> str:
    """What is there once a period is published, at the host that the connection names: an address or pattern.

    That of its file, of the marker of its files, or of any of these.
    """
    name = source_connection(dataset)
    base = base_of(dataset, find(name) if name else None)
    return dataset.marker_url(period, base) or dataset.url(period, base)


def place_of(connection: str | None, url: str) -> Place:
    """What answers for the file at `url`, with the secrets of a connection; of none where there is none."""
    found = find(connection) if connection else None
    return reach(url, found, lambda: _storage_client(connection if found and connection else GOOGLE))


def _storage_client(connection: str) -> Client:
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    # An emulator is never sent real credentials, and takes those of its own connection only.
    connection = GOOGLE if os.environ.get("STORAGE_EMULATOR_HOST") else connection
    with _explained(connection):
        return GCSHook(gcp_conn_id=connection).get_conn()


def find(connection: str) -> ConnectionFields | None:
    """An Airflow connection's fields; None where there is no such connection."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return _fields(BaseHook.get_connection(connection))
    except AirflowNotFoundException:
        return None


def _fields(found: Connection) -> ConnectionFields:
    texts: dict[str, Any] = {
        name: getattr(found, name) or "" for name in ("conn_type", "host", "schema", "login", "password")
    }
    return ConnectionFields(**texts, port=found.port, extra=found.extra_dejson)


@contextmanager
def _explained(connection: str) -> Iterator[None]:
    """Turn a hook's errors into ours: no such connection, or one that gives no credentials."""
    from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
    from google.auth.exceptions import GoogleAuthError

    from elt.stores import token_error

    try:
        yield
    except AirflowNotFoundException:
        raise SettingError(
            f"there is no Airflow connection {connection}. Set AIRFLOW_CONN_{connection.upper()}, like "
            f"{_EXAMPLES.get(connection, _EXAMPLES[GOOGLE])}, or create it in Airflow."
        ) from None
    except GoogleAuthError as error:
        # An external account is asked for its project while its client is made, which takes a token.
        raise token_error(error, f"the Airflow connection {connection}") from None
    except (AirflowException, OSError, ValueError) as error:
        text = f"the Airflow connection {connection} gives no credentials ({first_line(error)})."
        raise PermanentError(text) from None
