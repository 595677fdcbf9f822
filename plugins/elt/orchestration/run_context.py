"""What a task needs to know of its run: the month, whether to force, and what to tell its consumers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset

from elt.catalogue import Dataset
from elt.errors import InvalidMonthError
from elt.months import Month


def month_of(dataset: Dataset, context: Mapping[str, Any]) -> Month | None:
    """The run's partition key as a month; None for a dataset without months.

    InvalidMonthError where a monthly dataset's run has no key, or one that is no month.
    """
    if not dataset.monthly:
        return None
    key: str | None = context.get("partition_key") or getattr(context["dag_run"], "partition_key", None)
    if not key:
        raise InvalidMonthError(
            f"this run has no partition key, so no month: trigger {context['dag'].dag_id} with one, "
            f"such as {dataset.first_month}"
        )
    return Month.parse(key)


def is_forced(context: Mapping[str, Any]) -> bool:
    """Whether the run was triggered with `{"force": true}`: its stages work even if their work is done."""
    return (context["dag_run"].conf or {}).get("force") is True


def follows_forced(context: Mapping[str, Any]) -> bool:
    """Whether one of the events that started the run comes from a forced run."""
    events = context.get("triggering_asset_events") or {}
    return any(event.extra.get("force") is True for asset in events for event in events[asset])


def announce(
    asset: Asset, result: Mapping[str, Any], context: Mapping[str, Any], month: Month | None
) -> None:
    """Attach a stage's counts to the event that tells consumers of `asset` about `month` of it."""
    event = context["outlet_events"][asset]
    event.extra.update(result, **({"force": True} if is_forced(context) else {}))
    if month:
        # A source check hands on months that its own run does not have.
        event.add_partitions(str(month))
