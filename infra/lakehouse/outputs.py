"""The contract between infrastructure and pipelines: every output is a variable of the environment.

This is the only place that names them. `CREDENTIALS` is the one exception, the content of the file
to which GOOGLE_APPLICATION_CREDENTIALS points.
"""

import json
from typing import Final

import pulumi

from lakehouse.context import Context
from lakehouse.identity import PipelineIdentity
from lakehouse.lake import Lake
from lakehouse.settings import Settings
from lakehouse.warehouse import Warehouse

CREDENTIALS: Final = "google_credentials"
# Where containers find the file; on the host the verbs say where it is.
CREDENTIALS_PATH: Final = f"/run/secrets/{CREDENTIALS}"

VARIABLES: Final = (
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT",
    "BIGQUERY_DATASET",
    "BIGQUERY_EMULATOR_HOST",
    "GCP_GCS_BUCKET",
    "GCP_LOCATION",
    "GCP_PROJECT_ID",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "STORAGE_EMULATOR_HOST",
)


def variables(context: Context, lake: Lake, warehouse: Warehouse) -> dict[str, pulumi.Input[str]]:
    """Return the variables that say where the data is, the same for every target."""
    return {
        "BIGQUERY_DATASET": warehouse.dataset_id,
        "GCP_GCS_BUCKET": lake.name,
        "GCP_LOCATION": context.settings.location,
        "GCP_PROJECT_ID": context.settings.project,
    }


def export(context: Context, lake: Lake, warehouse: Warehouse, identity: PipelineIdentity) -> None:
    """Export the stack's outputs; those that do not apply are left out."""
    outputs: dict[str, pulumi.Input[str] | None] = {
        **variables(context, lake, warehouse),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": connection(context.settings),
        "BIGQUERY_EMULATOR_HOST": context.settings.bigquery_emulator,
        "GOOGLE_APPLICATION_CREDENTIALS": identity.credentials and CREDENTIALS_PATH,
        "STORAGE_EMULATOR_HOST": context.settings.storage_emulator,
        CREDENTIALS: identity.credentials,
    }
    for name, value in outputs.items():
        if isinstance(value, pulumi.Output) or value:
            pulumi.export(name, value)


def connection(settings: Settings) -> str:
    """Return Airflow's Google connection as JSON; it holds no secret, the credential file may."""
    extra: dict[str, object] = {"project": settings.project}
    if settings.credentials == "anonymous":
        extra["is_anonymous"] = True
    return json.dumps({"conn_type": "google_cloud_platform", "extra": extra}, sort_keys=True)
