"""Which failures are retried: transient ones are, permanent ones are not, unforeseen ones once."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowTaskTimeout

from elt.errors import (
    AccessDeniedError,
    AuditError,
    InvalidPeriodError,
    PermanentError,
    SourceNotPublishedError,
    TransientError,
)
from elt.orchestration.dag_defaults import TASKS, RetryTransientErrors


def action(error: BaseException, attempt: int = 1) -> RetryAction:
    return RetryTransientErrors().evaluate(error, attempt, TASKS["retries"]).action


@pytest.mark.parametrize(
    "error", [PermanentError("truncated"), AuditError("rows"), InvalidPeriodError("2024-13")]
)
def test_a_permanent_or_usage_error_fails_at_once(error: Exception) -> None:
    assert action(error) is RetryAction.FAIL


@pytest.mark.parametrize(
    "error",
    [
        TransientError("no answer"),
        SourceNotPublishedError("late"),
        requests.ConnectionError(),
        OSError(28, "disk full"),
    ],
)
@pytest.mark.parametrize("attempt", [1, 4])
def test_a_transient_error_is_retried_as_often_as_the_task_says(error: Exception, attempt: int) -> None:
    assert action(error, attempt) is RetryAction.DEFAULT


@pytest.mark.parametrize("error", [KeyError("column"), AirflowTaskTimeout("hours")])
def test_an_unforeseen_error_gets_one_more_try(error: BaseException) -> None:
    assert action(error, 1) is RetryAction.DEFAULT
    assert action(error, 2) is RetryAction.FAIL


def test_what_google_denies_is_retried_for_as_long_as_a_grant_takes() -> None:
    """Up to seven minutes, with the retries that every task has."""
    decisions = [
        RetryTransientErrors().evaluate(AccessDeniedError("not yet"), attempt, TASKS["retries"])
        for attempt in range(1, TASKS["retries"] + 1)
    ]
    assert {decision.action for decision in decisions} == {RetryAction.RETRY}
    waited = sum((decision.retry_delay for decision in decisions), timedelta())
    assert timedelta(minutes=7) <= waited <= timedelta(minutes=10)
