"""BigQuery's REST API: one call, and what values look like on the wire.

Google's client library would do as well. It brings pandas where that is installed, as it is with Airflow's
Google provider: 45 MB and half a second for every process that runs a task.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import requests
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

Json = dict[str, Any]
Value = str | int | float | dt.date | dt.datetime | None

SCOPES = ("https://www.googleapis.com/auth/bigquery", "https://www.googleapis.com/auth/cloud-platform")
# As Google's own client has them.
_PASSING_REASONS = ("rateLimitExceeded", "backendError", "internalError", "badGateway")
_PASSING_KINDS = (
    ConnectionError,
    exceptions.TooManyRequests,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.ServiceUnavailable,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    auth_exceptions.TransportError,
)
# What a job may fail with for good; whatever else it fails with is BigQuery's own trouble.
# https://cloud.google.com/bigquery/docs/error-messages
_FINAL_REASONS = (
    "accessDenied", "billingNotEnabled", "billingTierLimitExceeded", "blocked", "duplicate", "invalid",
    "invalidQuery", "policyViolation", "quotaExceeded", "resourceInUse", "resourcesExceeded",
    "responseTooLarge", "stopped", "tableUnavailable",
)  # fmt: skip
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Parameter:
    """A value for `@name` in a statement; `type` as BigQuery names it."""

    type: str
    value: Value

    def as_json(self, name: str) -> Json:
        """As a query's configuration has it."""
        value = {"value": _written(self.value)}
        return {"name": name, "parameterType": {"type": self.type}, "parameterValue": value}


def call(http: requests.Session, method: str, url: str, body: Json | None, query: Mapping[str, str]) -> Json:
    """Send JSON, return the answer's; GoogleAPICallError where it is an error."""
    response = http.request(method, url, params=query, json=body)
    if not response.ok:
        raise exceptions.from_http_response(response)  # type: ignore[no-untyped-call]
    answer: Json = response.json() if response.content else {}
    return answer


def worth_repeating(error: Exception) -> bool:
    """Whether the same request may well succeed in a moment."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    reason = reason_of(error)
    return isinstance(error, _PASSING_KINDS) if reason is None else reason in _PASSING_REASONS


def reason_of(error: Exception) -> str | None:
    """BigQuery's own word for an error; None where it gave none."""
    details = getattr(error, "errors", None) or [{}]
    reason: str | None = details[0].get("reason") if isinstance(details[0], dict) else None
    return reason


def failure_of(job: Json) -> exceptions.GoogleAPICallError | None:
    """The error that a finished job ended with; None where it did its work."""
    failed = job["status"].get("errorResult")
    if not failed:
        return None
    reason = failed.get("reason")
    status = 404 if reason == "notFound" else 400 if reason in _FINAL_REASONS else 500
    error: exceptions.GoogleAPICallError = exceptions.from_http_status(  # type: ignore[no-untyped-call]
        status, failed.get("message", ""), errors=[failed]
    )
    return error


def rows(page: Json) -> Iterator[dict[str, Any]]:
    """A page of a query's result, by column name, in Python's types."""
    fields = [(field["name"], _READING.get(field["type"], str)) for field in page["schema"]["fields"]]
    for row in page.get("rows", []):
        yield {name: _read(read, cell["v"]) for (name, read), cell in zip(fields, row["f"], strict=True)}


def _read(read: Callable[[str], Any], text: str | None) -> Any:
    return None if text is None else read(text)


def _moment(microseconds: str) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=int(microseconds))


_READING: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("INTEGER", "INT64"), int),
    **dict.fromkeys(("FLOAT", "FLOAT64"), float),
    **dict.fromkeys(("BOOLEAN", "BOOL"), lambda text: text.lower() == "true"),
    **dict.fromkeys(("NUMERIC", "BIGNUMERIC"), Decimal),
    "DATE": dt.date.fromisoformat,
    "DATETIME": dt.datetime.fromisoformat,
    # Asked for in microseconds: as a floating-point number of seconds it would lose some.
    "TIMESTAMP": _moment,
}


def _written(value: Value) -> str | None:
    if isinstance(value, dt.datetime) and value.tzinfo:
        return value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def parameters(values: Mapping[str, Parameter]) -> Sequence[Json]:
    """A query's parameters, as its configuration has them."""
    return [parameter.as_json(name) for name, parameter in values.items()]
