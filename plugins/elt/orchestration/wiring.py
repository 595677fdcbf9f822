"""What the DAG files share: schedules, assets, what every task has, the month of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, CronPartitionTimetable, PartitionedAssetTimetable

from elt.catalogue import Dataset
from elt.errors import InvalidMonthError
from elt.orchestration import alerts
from elt.orchestration.retries import RETRIES

TASKS: dict[str, Any] = {**RETRIES, "on_failure_callback": alerts.task_failed}
"""What every task has: `default_args` of every DAG."""


def schedule_start(days_later: int = 0) -> datetime:
    """When the schedule of this environment begins: it follows new months, older ones are asked for."""
    start = datetime.fromisoformat(os.environ.get("TAXI_SCHEDULE_START", "2024-01-01"))
    return start.replace(tzinfo=UTC) + timedelta(days=days_later)


def common(days_later: int = 0) -> dict[str, Any]:
    """What every DAG has; its schedule begins so many days after the environment."""
    return {
        "start_date": schedule_start(days_later),
        "catchup": False,
        "default_args": TASKS,
        "on_failure_callback": alerts.run_failed,
    }


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


def source_asset(dataset: Dataset) -> Asset:
    """The dataset's files at the publisher's."""
    return Asset(name=f"{dataset.name}_source", uri=f"x-source://{dataset.name}", group="source")


def postgres_asset(dataset: Dataset) -> Asset:
    """The dataset's table in Postgres."""
    return Asset(name=f"{dataset.name}_postgres", uri=f"x-postgres://{dataset.table}", group="postgres")


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
        raise InvalidMonthError(
            f"this run has no partition key, so no month: trigger {context['dag'].dag_id} with one, "
            f"such as {dataset.first_month}"
        )
    return key if dataset.monthly else None


def forced(context: Mapping[str, Any]) -> bool:
    """Whether the run was asked to do everything again, what is done already too."""
    return (context["dag_run"].conf or {}).get("force") is True


def follows_forced(context: Mapping[str, Any]) -> bool:
    """Whether the run follows one that was asked to do everything again."""
    events = context.get("triggering_asset_events") or {}
    return any(event.extra.get("force") is True for asset in events for event in events[asset])


def run_verb(verb: str, dataset: Dataset, context: Mapping[str, Any], month: str | None) -> dict[str, Any]:
    """Call `elt.stages.registry.<verb>` for a month."""
    from elt.settings import Settings
    from elt.stages import registry as pipeline

    # A run that follows another need not download again what that one has just downloaded.
    force = forced(context) or (verb != "download" and follows_forced(context))
    done: dict[str, Any] = getattr(pipeline, verb)(
        dataset.name, month, context["run_id"], Settings.from_environment(), force=force
    )
    return done


def announce(asset: Asset, done: Mapping[str, Any], context: Mapping[str, Any], month: str | None) -> None:
    """Attach counts to the event that tells consumers of `asset` about `month` of it."""
    event = context["outlet_events"][asset]
    event.extra.update(done, **({"force": True} if forced(context) else {}))
    if month:
        event.add_partitions(month)
