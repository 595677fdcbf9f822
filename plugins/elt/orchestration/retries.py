"""The retry rule: which failures of a task are tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from elt.errors import PermanentError, TransientError, UsageError


class RetryTransientErrors(RetryPolicy):
    """Transient errors are retried as often as the task says; permanent and usage errors fail at once.

    An unforeseen error is most likely a defect: it gets one more try. The policy is asked where the task
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
        # OSError: the disk, or a connection that no library of ours has looked after.
        if isinstance(exception, TransientError | OSError) or try_number == 1:
            return RetryDecision.default()
        return RetryDecision.fail("an unforeseen error, and not for the first time")


RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": RetryTransientErrors(),
}
