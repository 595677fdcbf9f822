"""How stages reach the outside: the lake, the warehouse, Postgres and a dataset's source.

`Connections` is what stages take. In Airflow's tasks it is `elt.orchestration.connections`, over the
provider's hooks; commands use `EnvironmentConnections`, which reads the same `AIRFLOW_CONN_*` variables
without importing Airflow (seconds, for a command that lasts one).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from elt.catalogue import Dataset
from elt.connection_fields import ConnectionFields, postgres_parameters
from elt.errors import PermanentError, SettingError, first_line
from elt.settings import Settings, required
from elt.sources import Source, open_source

if TYPE_CHECKING:
    import psycopg
    from google.cloud.storage import Client

    from elt.stores.bigquery import Warehouse
    from elt.stores.gcs import Lake

GOOGLE = "google_cloud_default"
POSTGRES = "taxi_postgres"
# Client id in the credential file of an emulator: what it holds is worth nothing at Google.
EMULATOR = "emulator"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


class Connections(Protocol):
    """What a stage reaches the outside by. Each call gives a client of its own; leaving it closes it.

    `project` runs (and pays for) the jobs; `has_postgres` says whether this target has a Postgres. Without
    one `postgres` raises SettingError; its connection is in autocommit, and inside psycopg's errors become
    `elt.errors`.
    """

    @property
    def project(self) -> str: ...  # noqa: D102 - the class says it

    @property
    def has_postgres(self) -> bool: ...  # noqa: D102

    def lake(self) -> Lake: ...  # noqa: D102

    def warehouse(self) -> Warehouse: ...  # noqa: D102

    def postgres(self) -> AbstractContextManager[psycopg.Connection]: ...  # noqa: D102

    def source(self, dataset: Dataset) -> Source: ...  # noqa: D102


def source_connection(dataset: Dataset) -> str | None:
    """The id of the connection that a dataset's entry names, if it names one."""
    return dataset.source.connection if dataset.source else None


@dataclass(frozen=True)
class EnvironmentConnections:
    """The connections that an environment's variables describe, whatever this process' own are.

    SettingError names a variable that is absent or malformed; credentials that cannot be read are a
    PermanentError.
    """

    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)

    @property
    def settings(self) -> Settings:
        """The same variables' settings."""
        return Settings.from_environment(self.variables)

    @property
    def project(self) -> str:
        """The connection's project, else the stack's."""
        # In the hooks' order: a user who changes the connection moves commands and tasks alike.
        google = fields_in(self.variables, GOOGLE)
        return str(
            (google.extra.get("project") if google else "") or required(self.variables, "GCP_PROJECT_ID")
        )

    @property
    def has_postgres(self) -> bool:
        """Whether AIRFLOW_CONN_TAXI_POSTGRES is set."""
        return fields_in(self.variables, POSTGRES) is not None

    def lake(self) -> Lake:
        """The stack's bucket; on the emulator where STORAGE_EMULATOR_HOST says so."""
        from elt.stores.gcs import Lake

        return Lake(self.storage_client(), self.settings.bucket)

    def warehouse(self) -> Warehouse:
        """The stack's dataset; on the emulator where BIGQUERY_EMULATOR_HOST says so."""
        from google.cloud.bigquery import Client

        from elt.stores.bigquery import Warehouse

        with _explained():
            client = Client(**self._google("BIGQUERY_EMULATOR_HOST", "bigquery"))
        return Warehouse(client, self.settings, emulated=bool(self.variables.get("BIGQUERY_EMULATOR_HOST")))

    def postgres(self) -> AbstractContextManager[psycopg.Connection]:
        """The Postgres of AIRFLOW_CONN_TAXI_POSTGRES."""
        from elt.stores.postgres import connect

        found = fields_in(self.variables, POSTGRES)
        if found is None:
            raise SettingError(
                f"{variable_of(POSTGRES)} is not set: this target has no Postgres. Set it to a connection "
                'like {"conn_type": "postgres", "host": "127.0.0.1", "schema": "taxi", "login": "taxi"}.'
            )
        return connect(**postgres_parameters(found))

    def source(self, dataset: Dataset) -> Source:
        """The source of a dataset, by the connection that its entry names."""
        name = source_connection(dataset)
        found = fields_in(self.variables, name) if name else None
        return open_source(
            dataset, found, lambda: self.storage_client(name if found and name else GOOGLE), self.settings
        )

    def storage_client(self, connection: str = GOOGLE) -> Client:
        """A client of Google's buckets, by a connection; an emulator's where STORAGE_EMULATOR_HOST is set."""
        from google.cloud.storage import Client

        with _explained():
            return Client(**self._google("STORAGE_EMULATOR_HOST", "storage", connection))

    def _google(self, emulator: str, service: str, connection: str = GOOGLE) -> dict[str, Any]:
        """A Google client's arguments. The endpoint is always given: without one it asks os.environ."""
        # An emulator is never sent real credentials, whatever the connection says.
        host = self.variables.get(emulator, "").rstrip("/")
        if host and not host.startswith(("http://", "https://")):
            raise SettingError(f"{emulator}={host!r} is not a URL. Write it like http://127.0.0.1:8080.")
        endpoint = host or f"https://{service}.googleapis.com"
        return {
            "project": self.project,
            "credentials": self._for_emulator() if host else self._credentials(connection),
            "client_options": {"api_endpoint": endpoint},
        }

    def _for_emulator(self) -> Any:
        """The bearer token in the connection's credential file if that is an emulator's; else anonymous."""
        from google.auth.credentials import AnonymousCredentials
        from google.oauth2.credentials import Credentials

        google_ = fields_in(self.variables, GOOGLE) or ConnectionFields()
        named = google_.extra.get("credential_config_file")
        content = {}
        # The provider also takes the content itself, which is never an emulator's.
        if isinstance(named, str) and named.startswith("/"):
            try:
                content = dict(json.loads(Path(named).read_text()))
            except (OSError, ValueError, TypeError) as error:
                raise PermanentError(
                    f"the connection's credential file cannot be read: {first_line(error)}"
                ) from None
        if content.get("client_id") != EMULATOR:
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Credentials(content["token"])  # type: ignore[no-untyped-call]

    def _credentials(self, connection: str) -> Any:
        """As the provider's hooks choose them: anonymous, a key file, else what Google's libraries find."""
        import google.auth
        from google.auth import impersonated_credentials
        from google.auth.credentials import AnonymousCredentials

        google_ = fields_in(self.variables, connection) or ConnectionFields()
        if google_.extra.get("is_anonymous"):
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        # Read here, not put into os.environ, where every library of this process would find it.
        path = google_.extra.get("key_path") or self.variables.get("GOOGLE_APPLICATION_CREDENTIALS")
        *delegates, target = google_.impersonated() or [""]
        if path:
            found, _ = google.auth.load_credentials_from_file(path, scopes=_SCOPES)  # type: ignore[no-untyped-call]
        else:
            found, _ = google.auth.default(scopes=_SCOPES)
        if not target:
            return found
        return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            found, target_principal=target, delegates=delegates, target_scopes=list(_SCOPES)
        )


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what Google's libraries raise while a client is made into errors of ours.

    They ask already: an external account for its project, which takes a token, and a virtual machine for
    the domain of its APIs.
    """
    from google.auth.exceptions import GoogleAuthError

    from elt.stores import token_error

    try:
        yield
    except (GoogleAuthError, OSError, ValueError) as error:
        raise token_error(error, "Google Cloud") from None


def fields_in(variables: Mapping[str, str], connection: str) -> ConnectionFields | None:
    """A connection as variables describe it; None where its variable is not set."""
    name = variable_of(connection)
    text = variables.get(name, "")
    return ConnectionFields.parse(text, name) if text else None


def variable_of(connection: str) -> str:
    """The variable that Airflow reads a connection from."""
    return f"AIRFLOW_CONN_{connection.upper()}"
