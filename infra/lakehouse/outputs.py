"""The contract between infrastructure and pipelines: every output is a variable of the environment.

This is the only place that names them; who reads one imports its name, or is tested against it. Nothing here
needs Pulumi, so a command that wants a name does not wait for its import.
"""

import json
from collections.abc import Mapping
from typing import Final, TypeVar

from lakehouse.settings import Settings

PROJECT: Final = "GCP_PROJECT_ID"
LOCATION: Final = "GCP_LOCATION"
BUCKET: Final = "GCP_GCS_BUCKET"
DATASET: Final = "BIGQUERY_DATASET"
CONNECTION: Final = "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"
CREDENTIAL_FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
STORAGE_EMULATOR: Final = "STORAGE_EMULATOR_HOST"
BIGQUERY_EMULATOR: Final = "BIGQUERY_EMULATOR_HOST"

_PLACES: Final = (PROJECT, LOCATION, BUCKET, DATASET)
VARIABLES: Final = tuple(sorted((*_PLACES, CONNECTION, CREDENTIAL_FILE, STORAGE_EMULATOR, BIGQUERY_EMULATOR)))

# The outputs that are no variables: the content of the file that CREDENTIAL_FILE points to, and of the file
# that the API server has instead.
CREDENTIALS: Final = "google_credentials"
READER_CREDENTIALS: Final = "google_reader_credentials"
# Where containers find that file; on the host the commands put it elsewhere and set the variable.
CREDENTIALS_PATH: Final = f"/run/secrets/{CREDENTIALS}"

Value = TypeVar("Value")


def places(settings: Settings, bucket: Value, dataset: Value) -> dict[str, Value | str]:
    """Return the variables that say where the data is, the same for every target."""
    return {PROJECT: settings.project, LOCATION: settings.location, BUCKET: bucket, DATASET: dataset}


def outputs(
    settings: Settings,
    bucket: Value,
    dataset: Value,
    credentials: Value | None = None,
    reader: Value | None = None,
) -> Mapping[str, Value | str]:
    """Return the stack's outputs; those that do not apply are left out.

    `credentials` is the content of the credential file, None where the stack's mode needs none; `reader` that
    of the account that only reads.
    """
    # Airflow's connection holds no secret; the credential file may.
    extra: dict[str, object] = {"project": settings.project}
    if settings.credentials == "anonymous":
        extra["is_anonymous"] = True
    connection = json.dumps({"conn_type": "google_cloud_platform", "extra": extra}, sort_keys=True)
    found: dict[str, Value | str] = {**places(settings, bucket, dataset), CONNECTION: connection}
    if settings.on_emulators:
        found |= {STORAGE_EMULATOR: settings.storage_emulator, BIGQUERY_EMULATOR: settings.bigquery_emulator}
    if credentials is not None:
        found |= {CREDENTIAL_FILE: CREDENTIALS_PATH, CREDENTIALS: credentials}
    if reader is not None:
        found[READER_CREDENTIALS] = reader
    return found
