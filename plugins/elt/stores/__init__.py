"""Where rows are kept: the lake, the warehouse, Postgres. Each store is handed the client it works over."""

import datetime as dt
import json
from typing import Any

from google.auth.exceptions import DefaultCredentialsError, OAuthError, RefreshError, TransportError

from elt.catalogue import Column
from elt.catalogue.model import PERIOD_COLUMNS
from elt.errors import (
    AccessDeniedError,
    NoCredentialsError,
    PermanentError,
    PipelineError,
    TransientError,
    first_line,
)
from elt.periods import Grain, Period


def period_column(grain: Grain) -> Column:
    """What every table of rows by periods begins with, whatever the store: when its period starts."""
    start = {"hour": "Start of the hour", "day": "Day"}.get(grain, f"First day of the {grain}")
    described = f"{start} whose file the row came in."
    return Column(PERIOD_COLUMNS[grain], "datetime" if grain == "hour" else "date", described)


def period_value(period: Period) -> dt.date:
    """A period's value in that column: a date, or a datetime for an hour."""
    return period.start if period.grain == "hour" else period.first_day()


# OAuth's words for a service that has trouble of its own; its other words are refusals.
_OAUTH_BUSY = ("server_error", "temporarily_unavailable", "internal_failure")


def is_busy(status: int) -> bool:
    """Whether another attempt may get another answer than this HTTP status."""
    return status in (408, 429) or status >= 500


def denied(where: str, said: str) -> AccessDeniedError:
    """What Google does not allow, or not yet: what was granted or enabled a moment ago is denied, too."""
    return AccessDeniedError(
        f"{where}: access denied ({said}). If it was granted only now, Google needs up to 7 minutes."
    )


def token_error(error: Exception, where: str) -> PipelineError:
    """What an error of Google's authentication means.

    Its class does not tell: `RefreshError` is a grant that is missing as well as one hiccup of the service
    that mints tokens. That service's answer is among the arguments.
    """
    # A virtual machine's own server: only its errors carry the answer itself.
    answered = [
        found for cause in error.args if isinstance(cause, TransportError) for found in cause.args[1:]
    ]
    answers = google_answers(error)
    details = [found.get("error") for found in answers if found]
    structured = [found for found in details if isinstance(found, dict)]
    statuses = [int(found.get("code") or 0) for found in structured]
    statuses += [found.status for found in answered if hasattr(found, "status")]
    message = next((str(found["message"]) for found in structured if found.get("message")), "")
    said = message.splitlines()[0] if message else first_line(error.args[0] if answered else error)
    if 403 in statuses:
        return denied(where, said)
    passing = (
        getattr(error, "retryable", False)
        # 401: the token of whoever impersonates was refused before its time; another attempt takes another.
        or any(is_busy(status) or status == 401 for status in statuses)
        or any(found in _OAUTH_BUSY for found in details if isinstance(found, str))
        # Google's load balancers answer in HTML, and only when something is broken.
        or None in answers
        or (not answered and any(isinstance(cause, TransportError) for cause in error.args))
        # A connection that broke has classes of its own.
        or not isinstance(error, RefreshError | OAuthError | DefaultCredentialsError | OSError | ValueError)
    )
    if passing:
        return TransientError(f"{where}: no token could be had ({said}).")
    if isinstance(error, DefaultCredentialsError | OSError | ValueError):
        return NoCredentialsError(f"{where}: no credentials ({said}).")
    return PermanentError(f"{where}: the credentials are not accepted ({said}).")


def google_answers(error: Exception) -> list[dict[str, Any] | None]:
    """The answers of Google's that an error of its authentication carries; None for one that is not JSON."""
    # OAuth's own client hands over a page of HTML in the place of the answer, and says nothing else.
    return [_parsed(body) for body in error.args if isinstance(body, dict) or _is_body(body)]


def _is_body(argument: object) -> bool:
    return isinstance(argument, str) and argument.lstrip().startswith(("{", "<"))


def _parsed(body: str | dict[str, Any]) -> dict[str, Any] | None:
    if isinstance(body, dict):
        return body
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
