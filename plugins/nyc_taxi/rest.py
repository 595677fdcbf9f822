"""BigQuery's REST API: one request, and what its errors mean.

The official client costs a second of CPU to import, in every task; what is needed here is small.
"""

from typing import Any

import google.auth
import google.auth.exceptions
import requests
import requests.adapters
import urllib3
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession

from nyc_taxi.errors import Refused, Trouble
from nyc_taxi.settings import Settings

Json = dict[str, Any]

_GOOGLE = "https://bigquery.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT = (10, 120)
# Seconds before a request is repeated, doubled each time.
BACKOFF = 0.3
TRANSIENT = frozenset({
    "backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded",
    "quotaExceeded", "rateLimitExceeded", "resourcesExceeded", "tableUnavailable", "timeout",
})  # fmt: skip


class Missing(Refused):
    """A table, dataset or job that is not there."""


class Conflict(Refused):
    """A table or job of that name is there already."""


class Rest:
    """Requests to the project's resources."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.bigquery_endpoint or _GOOGLE
        self._url = f"{self._root}/bigquery/v2/projects/{settings.project}"
        self._http = _session(settings)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, body: Json | None = None, params: Json | None = None) -> Json:
        """Return the answer; an error is Missing, Conflict, Refused or (trying again may help) Trouble."""
        try:
            response = self._http.request(
                method, self._url + path, json=body, params=params, timeout=_TIMEOUT
            )
        except google.auth.exceptions.RefreshError as error:
            raise Refused(
                f"BigQuery: the credentials are not accepted ({error}). See scripts/doctor."
            ) from None
        except (requests.RequestException, google.auth.exceptions.GoogleAuthError) as error:
            raise Trouble(f"BigQuery does not answer ({type(error).__name__} at {self._root}).") from None
        if response.status_code >= 400:
            raise _refusal(response)
        answer: Json = response.json() if response.content else {}
        return answer


def _session(settings: Settings) -> requests.Session:
    http: requests.Session = AuthorizedSession(_credentials(settings))  # type: ignore[no-untyped-call]
    # Every request may be repeated: jobs have ids of ours, tables have names.
    again = urllib3.Retry(
        total=3,
        backoff_factor=BACKOFF,
        status_forcelist=(500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        http.mount(scheme, requests.adapters.HTTPAdapter(max_retries=again))
    return http


def _credentials(settings: Settings) -> google.auth.credentials.Credentials:
    if settings.bigquery_endpoint:
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise Refused(f"BigQuery: no credentials ({error}). See scripts/doctor.") from None
    return credentials


def _refusal(response: requests.Response) -> Refused | Trouble:
    reason, message = _reason(response)
    text, status = f"BigQuery: {message}", response.status_code
    if status == 404:
        return Missing(text)
    if status == 409:
        return Conflict(text)
    return Trouble(text) if status == 429 or status >= 500 or reason in TRANSIENT else Refused(text)


def _reason(response: requests.Response) -> tuple[str, str]:
    try:
        error = response.json()["error"]
        return (error.get("errors") or [{}])[0].get("reason", ""), error.get("message", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", f"{response.status_code} {response.text[:200]}"
