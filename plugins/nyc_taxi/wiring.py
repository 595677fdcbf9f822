"""What the DAG files share: schedules, assets, retries, the month of a run, errors as Airflow means them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, CronPartitionTimetable, PartitionedAssetTimetable, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from nyc_taxi.catalogue import Dataset
from nyc_taxi.errors import Refused, UsageError

# Trouble with a service passes; a refused file or a failed audit does not and is not retried.
RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
}


def schedule_start() -> datetime:
    """When the schedule of this environment begins: it follows new months, older ones are asked for."""
    return datetime.fromisoformat(os.environ.get("TAXI_SCHEDULE_START", "2024-01-01")).replace(tzinfo=UTC)


def lake_schedule(dataset: Dataset) -> CronPartitionTimetable | None:
    """On the first of each month the month that is published by then; None for what has no months."""
    if not dataset.monthly:
        return None
    return CronPartitionTimetable(
        "0 0 1 * *", timezone="UTC", run_offset=-dataset.lag_months, key_format="%Y-%m"
    )


def raw_asset(dataset: Dataset) -> Asset:
    """The dataset's files in the lake, as published."""
    return Asset(name=f"{dataset.name}_raw", uri=f"x-lake://raw/{dataset.name}", group="lake")


def typed_asset(dataset: Dataset) -> Asset:
    """The dataset's Parquet in the lake, one schema for all months."""
    return Asset(name=f"{dataset.name}_typed", uri=f"x-lake://typed/{dataset.name}", group="lake")


def table_asset(dataset: Dataset) -> Asset:
    """The dataset's table in the warehouse."""
    return Asset(name=f"{dataset.name}_table", uri=f"x-warehouse://{dataset.table}", group="warehouse")


def mart_asset(name: str) -> Asset:
    """A table that is computed from published months."""
    return Asset(name=name, uri=f"x-warehouse://{name}", group="marts")


def follows(dataset: Dataset, asset: Asset) -> PartitionedAssetTimetable | list[Asset]:
    """Schedule of a consumer: one run for each month of `asset` that changed, with the same key."""
    return PartitionedAssetTimetable(assets=asset) if dataset.monthly else [asset]


def month_of(dataset: Dataset, context: Mapping[str, Any]) -> str | None:
    """The run's partition key; fails at once where a monthly dataset's run has none."""
    key: str | None = context.get("partition_key") or getattr(context["dag_run"], "partition_key", None)
    if dataset.monthly and not key:
        raise AirflowFailException(
            f"this run has no partition key, so no month: trigger {context['dag'].dag_id} with one, "
            f"such as {dataset.first_month}"
        )
    return key if dataset.monthly else None


@contextmanager
def permanent_errors_fail() -> Iterator[None]:
    """A refusal fails its task at once; everything else is tried again as RETRIES says."""
    try:
        yield
    except (Refused, UsageError) as error:
        raise AirflowFailException(str(error)) from error


def run_verb(verb: str, dataset: Dataset, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Call `nyc_taxi.pipeline.<verb>` for the month of the current run; returns what it returns."""
    from nyc_taxi import pipeline
    from nyc_taxi.settings import Settings

    context = context or get_current_context()
    with permanent_errors_fail():
        done: dict[str, Any] = getattr(pipeline, verb)(
            dataset.name, month_of(dataset, context), context["run_id"], Settings.from_environment()
        )
    return done


def announce(asset: Asset, done: Mapping[str, Any], context: Mapping[str, Any] | None = None) -> None:
    """Attach counts to the event that tells consumers of `asset` about this month."""
    (context or get_current_context())["outlet_events"][asset].extra.update(done)
