"""Which failures are tried again: trouble is, a refusal is not, a defect once."""

from __future__ import annotations

import pytest
import requests
from airflow.sdk import RetryAction

from elt.errors import AuditError, InvalidMonthError, PermanentError, SourceNotPublishedError, TransientError
from elt.orchestration.retries import RETRIES, Judgement


def judged(error: BaseException, attempt: int = 1) -> RetryAction:
    return Judgement().evaluate(error, attempt, RETRIES["retries"]).action


@pytest.mark.parametrize(
    "error", [PermanentError("truncated"), AuditError("rows"), InvalidMonthError("2024-13")]
)
def test_a_refusal_fails_at_once(error: Exception) -> None:
    assert judged(error) is RetryAction.FAIL


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
def test_trouble_is_tried_again_as_often_as_the_task_says(error: Exception, attempt: int) -> None:
    assert judged(error, attempt) is RetryAction.DEFAULT


def test_a_defect_is_tried_once_more() -> None:
    assert judged(KeyError("column"), 1) is RetryAction.DEFAULT
    assert judged(KeyError("column"), 2) is RetryAction.FAIL
