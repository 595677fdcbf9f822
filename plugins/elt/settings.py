"""What the environment says, read and validated once."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from elt.errors import SettingError

_URL = re.compile(r"https?://[^\s/]+\S*")


@dataclass(frozen=True)
class Settings:
    """Where the data comes from and where it goes. Endpoints are None on Google Cloud itself."""

    project: str
    bucket: str
    dataset: str
    location: str
    source_url: str | None = None
    postgres_dsn: str | None = None
    storage_endpoint: str | None = None
    bigquery_endpoint: str | None = None
    max_bytes_billed: int = 100 * 2**30

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read the stack's outputs and the verbs' variables; SettingError names what is absent."""
        return cls(
            project=_required(env, "GCP_PROJECT_ID"),
            bucket=_required(env, "GCP_GCS_BUCKET"),
            dataset=_required(env, "BIGQUERY_DATASET"),
            location=_required(env, "GCP_LOCATION"),
            source_url=_url(env, "TLC_BASE_URL"),
            postgres_dsn=env.get("TAXI_POSTGRES_DSN") or None,
            storage_endpoint=_url(env, "STORAGE_EMULATOR_HOST"),
            bigquery_endpoint=_url(env, "BIGQUERY_EMULATOR_HOST"),
        )

    def require_postgres(self) -> str:
        """The taxi Postgres' connection string; SettingError where there is none."""
        if self.postgres_dsn is None:
            raise SettingError(
                "TAXI_POSTGRES_DSN is not set: this target has no taxi Postgres. "
                "Set it to a libpq connection string, e.g. 'host=127.0.0.1 port=5432 dbname=taxi user=taxi'."
            )
        return self.postgres_dsn


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise SettingError(
            f"{name} is not set. It comes from the stack's outputs: load the environment that "
            "scripts/env prints, or start the platform with scripts/up."
        )
    return value


def _url(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name, "").rstrip("/")
    if value and not _URL.fullmatch(value):
        raise SettingError(f"{name}={value!r} is not a URL. Write it like http://127.0.0.1:8080.")
    return value or None
