"""What every DAG and task has: start, the retry rule, alerts, and an end to every wait."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any

from airflow.sdk import CronPartitionTimetable, RetryDecision, RetryPolicy

from elt.catalogue import Dataset
from elt.errors import AccessDeniedError, PermanentError, TransientError, UsageError
from elt.orchestration import alerts
from elt.periods import Grain
from elt.settings import schedule_start
from elt.sources.changes import PATIENCE


class RetryTransientErrors(RetryPolicy):
    """Transient errors are retried as often as the task says; permanent and usage errors fail at once.

    What Google denies is retried after 30 s, 1, 2 and 4 minutes: a grant takes up to 7 to be effective. An
    unforeseen error is most likely a defect: it gets one more try. The policy is asked where the task
    runs, with the exception in hand. For a task that is killed, or failed by the scheduler ("state
    mismatch"), nobody asks: it is retried as often as it says.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,  # noqa: ARG002 - Airflow's signature
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide about the exception that ended try `try_number` (from 1 on)."""
        if isinstance(exception, PermanentError | UsageError):
            return RetryDecision.fail("a permanent error: trying again would not help")
        if isinstance(exception, AccessDeniedError):
            return RetryDecision.retry(
                timedelta(seconds=30) * 2 ** (try_number - 1), "denied, or not yet granted"
            )
        # OSError: the disk, or a connection that no library of ours has looked after.
        if isinstance(exception, TransientError | OSError) or try_number == 1:
            return RetryDecision.default()
        return RetryDecision.fail("an unforeseen error, and not for the first time")


TASKS: Mapping[str, Any] = MappingProxyType(
    {
        "retries": 4,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": RetryTransientErrors(),
        "on_failure_callback": alerts.task_failed,
    }
)
"""`default_args` of every DAG."""

EXECUTION_TIMEOUTS: Mapping[str, timedelta] = MappingProxyType(
    {
        # What waits or asks: a few requests, each with a time-out of its own.
        "wait": timedelta(minutes=10),
        "check": timedelta(hours=1),
        # What moves bytes: the largest files take minutes on a small machine.
        **dict.fromkeys(("download", "conform", "postgres", "lake"), timedelta(hours=3)),
        # What waits for BigQuery only begins here: a job that takes longer is awaited by the triggerer.
        **dict.fromkeys(("stage", "audit", "publish", "mart", "warehouse"), timedelta(minutes=30)),
        "dbt": timedelta(hours=3),
    }
)
"""How long a task may hold a worker, by its stage (or `wait`, `check` and `dbt`)."""

TRIGGER_GRACE = timedelta(minutes=10)
"""How long after what it waits for must be over a trigger is given up."""

# Anything but a wait for a publication is over within a day, or somebody has to look.
_DAY = timedelta(days=1)
# Airflow wants a day to start from, also for what no schedule start concerns.
_ANY_DAY = date(2024, 1, 1)
_NEVER = date(2200, 1, 1)
# When a period starts, and how its partition key is written.
_TICKS: Mapping[Grain, tuple[str, str]] = {
    "hour": ("0 * * * *", "%Y-%m-%dT%H"),
    "day": ("0 0 * * *", "%Y-%m-%d"),
    "month": ("0 0 1 * *", "%Y-%m"),
    "year": ("0 0 1 1 *", "%Y"),
}


def dag_defaults(days_later: int = 0) -> dict[str, Any]:
    """What every DAG has; its schedule begins so many days after the environment's.

    SettingError where TAXI_SCHEDULE_START is malformed.
    """
    return {
        "start_date": _start(schedule_start() or _ANY_DAY) + timedelta(days=days_later),
        "catchup": False,
        "default_args": dict(TASKS),
        "on_failure_callback": alerts.run_failed,
        "dagrun_timeout": _DAY,
    }


def lake_defaults(dataset: Dataset) -> dict[str, Any]:
    """What a DAG has that loads periods which its schedule, and nobody else, asks for.

    Airflow runs the latest tick as soon as a DAG is unpaused, also without catch-up. Where no schedule start
    is set (a foreign Airflow) the schedule never begins: periods can be triggered and backfilled, but none is
    loaded unasked.
    """
    start = _start(schedule_start() or _NEVER)
    return {**dag_defaults(), "start_date": start, "dagrun_timeout": patience(dataset) + _DAY}


def patience(dataset: Dataset) -> timedelta:
    """How long a publication is waited for: of a dataset without periods as long as of a month."""
    return PATIENCE[dataset.every or "month"]


def lake_schedule(dataset: Dataset) -> CronPartitionTimetable | None:
    """At the start of each period the one that is published by then; None for a dataset without periods."""
    if not dataset.every:
        return None
    cron, key = _TICKS[dataset.every]
    return CronPartitionTimetable(cron, timezone="UTC", run_offset=-dataset.lag, key_format=key)


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
