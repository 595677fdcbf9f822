"""Where a stack keeps its data and what it allows, read from the environment and validated once.

Credentials, the project, endpoints and addresses are not here: they belong to `elt.connections`.
"""

import datetime as dt
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from elt.errors import SettingError

GIB = 2**30
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class Settings:
    """`bucket` is the lake's, `dataset` and `location` are the warehouse's.

    `schedule_start` is the first day whose periods the schedule loads; None: nothing is loaded unasked.
    A query that would read more than `max_bytes_billed` is refused by BigQuery before it costs anything;
    a job is stopped after `job_seconds`. A published file that is larger than `max_file_bytes`, or takes
    longer than `download_seconds`, is given up: a source may send without end.
    """

    bucket: str
    dataset: str
    location: str
    schedule_start: dt.date | None = None
    max_bytes_billed: int = 100 * GIB
    job_seconds: int = 3600
    max_file_bytes: int = 8 * GIB
    download_seconds: int = 7200

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read the stack's outputs and the commands' variables; SettingError names the wrong one."""
        return cls(
            bucket=required(env, "GCP_GCS_BUCKET"),
            dataset=required(env, "BIGQUERY_DATASET"),
            location=required(env, "GCP_LOCATION"),
            # Nothing is assumed: on a cloud a start in the past would load years that nobody asked for.
            schedule_start=schedule_start(env),
            max_bytes_billed=_positive(env, "TAXI_MAX_BYTES_BILLED", cls.max_bytes_billed),
            job_seconds=_positive(env, "TAXI_JOB_SECONDS", cls.job_seconds),
            max_file_bytes=_positive(env, "TAXI_MAX_FILE_BYTES", cls.max_file_bytes),
            download_seconds=_positive(env, "TAXI_DOWNLOAD_SECONDS", cls.download_seconds),
        )


def schedule_start(env: Mapping[str, str] = os.environ) -> dt.date | None:
    """Read TAXI_SCHEDULE_START (`2024-01-31`); None where it is not set. DAG files need nothing else."""
    text = env.get("TAXI_SCHEDULE_START", "")
    if not text:
        return None
    try:
        # Python alone would also read 20240131 and 2024-W05-3.
        return dt.date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise SettingError(
            f"TAXI_SCHEDULE_START={text!r} is not a day. Write it like 2024-01-31, without time or zone."
        ) from None


def required(env: Mapping[str, str], name: str) -> str:
    """An output of the stack; SettingError where it is absent or empty."""
    value = env.get(name, "")
    if not value:
        raise SettingError(
            f"{name} is not set. It comes from the stack's outputs: load the environment that "
            "scripts/env prints, or start the platform with scripts/up."
        )
    return value


def _positive(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise SettingError(f"{name}={text!r} is not a whole number above 0. Write it like {default}.")
    return int(text)
