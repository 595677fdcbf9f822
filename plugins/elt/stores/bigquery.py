"""The warehouse's tables and jobs. A job has an id of ours: it is done once, however often asked for."""

import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

import google.auth
import requests
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.auth.transport.requests import AuthorizedSession

from elt.errors import PermanentError, PipelineError, TableNotFoundError, TransientError
from elt.settings import Settings
from elt.stores import bigquery_api as api
from elt.stores.bigquery_api import Json, Parameter

__all__ = ["BigQuery", "Json", "Parameter", "Work"]

GOOGLE = "https://bigquery.googleapis.com"
# Seconds to connect within, and to wait for an answer: the emulator gives it when the job is done.
TIMEOUT = (5, 300)
# Seconds to try again within; longer outages are for whoever calls again.
RETRY = Retry(predicate=api.worth_repeating, timeout=15)
# A job that was just started may not be found yet.
SOON = Retry(predicate=if_exception_type(exceptions.NotFound), timeout=15)
# Permanent by their status, but not for ever.
_PASSING = ("quotaExceeded", "resourcesExceeded", "tableUnavailable")
# One transaction at a time may change a table; the later one is aborted, or its statement refused.
_CONTENDED = ("aborted due to concurrent update", "could not serialize access", "transaction conflict")
TRIES = 8
# Rows of one answer.
PAGE = 10_000
# Seconds between two looks at a job: at first, and at most.
_LOOKS = (0.1, 2.0)


@dataclass(frozen=True)
class Work:
    """What a job is for: an id that is the same whenever the same work is asked for, and labels."""

    id: str
    labels: Mapping[str, str]


class BigQuery:
    """The stack's warehouse dataset."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoint = settings.bigquery_endpoint or GOOGLE
        self._url = f"{self._endpoint}/bigquery/v2/projects/{settings.project}"
        self._tables = f"/datasets/{settings.dataset}/tables"
        self._http = _session(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()  # type: ignore[no-untyped-call]

    def name(self, table: str) -> str:
        """Full name of a table, ready for SQL."""
        return f"`{self._settings.project}.{self._settings.dataset}.{table}`"

    def tables(self) -> set[str]:
        """Names of all tables and views."""
        with self._errors("dataset", self._settings.dataset):
            pages = self._pages(self._tables, {"maxResults": "1000"})
            return {table["tableReference"]["tableId"] for page in pages for table in page.get("tables", [])}

    def table(self, name: str) -> Json | None:
        """Describe a table as the API does; None if it is not there."""
        try:
            with self._errors("table", name):
                return self._call("GET", f"{self._tables}/{name}")
        except TableNotFoundError:
            return None

    def create(self, name: str, table: Json) -> None:
        """Create a table or view; one that is there already stays as it is."""
        with self._errors("table", name):
            try:
                self._call("POST", self._tables, {**table, "tableReference": self._reference(name)})
            except exceptions.Conflict:
                return

    def drop(self, name: str) -> None:
        """Delete a table that may be gone already."""
        with self._errors("table", name):
            try:
                self._call("DELETE", f"{self._tables}/{name}")
            except exceptions.NotFound:
                return

    def load(self, table: str, uri: str, fields: Sequence[Json], work: Work) -> None:
        """Load one Parquet object into an empty table."""
        load = {
            "sourceUris": [uri],
            "sourceFormat": "PARQUET",
            "destinationTable": self._reference(table),
            "schema": {"fields": list(fields)},
            "createDisposition": "CREATE_NEVER",
            "writeDisposition": "WRITE_EMPTY",
        }
        with self._errors("job", work.id):
            self._run({"load": load}, work)

    def execute(self, statement: str, parameters: Mapping[str, Parameter], work: Work) -> None:
        """Run a statement or script."""
        with self._errors("job", work.id):
            self._run(self._query(statement, parameters), work)

    def rows(
        self, statement: str, parameters: Mapping[str, Parameter], labels: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Run a SELECT; return its rows by column name."""
        work = Work(f"taxiway-{uuid4().hex}", labels)
        with self._errors("job", work.id):
            job_id = self._run(self._query(statement, parameters), work)
            asked = {
                "location": self._settings.location,
                "maxResults": str(PAGE),
                "formatOptions.useInt64Timestamp": "true",
            }
            pages = self._pages(f"/queries/{job_id}", asked)
            return [row for page in pages for row in api.rows(page)]

    def _query(self, statement: str, parameters: Mapping[str, Parameter]) -> Json:
        query = {
            "query": statement,
            "useLegacySql": False,
            "queryParameters": api.parameters(parameters),
            "maximumBytesBilled": str(self._settings.max_bytes_billed),
        }
        return {"query": query}

    def _run(self, configuration: Json, work: Work) -> str:
        """Finish this work: its job that is there already, or a new one where those there have failed.

        BigQuery never forgets an id, so after a failed job comes the next number of the same id; returns
        that of the job which has done it.
        """
        contentions = 0
        for number in itertools.count():
            job_id = f"{work.id}-{number}"
            job, found = self._submit({**configuration, "labels": dict(work.labels)}, job_id)
            error = api.failure_of(self._finished(job, job_id))
            if error is None:
                return job_id
            if found:
                continue
            contentions += 1
            if not _contended(error) or contentions == TRIES:
                raise error
            # Let the other one finish; two that wait must not meet again.
            time.sleep(random.uniform(0.1, 0.3) * 2**contentions)  # noqa: S311
        raise AssertionError("unreachable")

    def _submit(self, configuration: Json, job_id: str) -> tuple[Json, bool]:
        """Start a job, or find it where it was started before."""
        reference = {
            "projectId": self._settings.project,
            "jobId": job_id,
            "location": self._settings.location,
        }
        try:
            job = self._call("POST", "/jobs", {"jobReference": reference, "configuration": configuration})
        except exceptions.Conflict:
            return SOON(self._job)(job_id), True
        return job, False

    def _job(self, job_id: str) -> Json:
        return self._call("GET", f"/jobs/{job_id}", query={"location": self._settings.location})

    def _finished(self, job: Json, job_id: str) -> Json:
        """Wait for a job's end."""
        pause, longest = _LOOKS
        while job["status"]["state"] != "DONE":
            time.sleep(pause)
            pause = min(pause * 1.5, longest)
            job = self._job(job_id)
        return job

    def _pages(self, path: str, query: Mapping[str, str]) -> Iterator[Json]:
        more: dict[str, str] = {}
        while True:
            page = self._call("GET", path, query={**query, **more})
            yield page
            token = page.get("pageToken") or page.get("nextPageToken")
            if not token:
                return
            more = {"pageToken": token}

    def _call(
        self, method: str, path: str, body: Json | None = None, query: Mapping[str, str] | None = None
    ) -> Json:
        return RETRY(api.call)(self._http, method, self._url + path, body, query or {})

    def _reference(self, table: str) -> Json:
        return {
            "projectId": self._settings.project,
            "datasetId": self._settings.dataset,
            "tableId": table,
        }

    @contextmanager
    def _errors(self, kind: str, name: str) -> Iterator[None]:
        """Turn the API's errors into ours."""
        try:
            yield
        except exceptions.RetryError as error:
            if isinstance(error.cause, exceptions.GoogleAPICallError):
                raise TransientError(_text(kind, name, error.cause)) from None
            raise self._silence(error.cause) from None
        except exceptions.GoogleAPICallError as error:
            raise _kind_of(error)(_text(kind, name, error)) from None
        except RefreshError as error:
            raise PermanentError(f"BigQuery: the credentials are not accepted ({error}).") from None
        except (requests.RequestException, GoogleAuthError, TimeoutError) as error:
            raise self._silence(error) from None

    def _silence(self, error: Exception) -> TransientError:
        return TransientError(f"BigQuery does not answer ({type(error).__name__} at {self._endpoint}).")


class _Session(AuthorizedSession):
    """Requests with an end: without it one waits for ever to be connected, and for an answer."""

    def request(self, *what: Any, **how: Any) -> Any:
        return super().request(*what, **{**how, "timeout": TIMEOUT})  # type: ignore[no-untyped-call]


def _session(settings: Settings) -> _Session:
    if settings.bigquery_endpoint:
        return _Session(AnonymousCredentials())  # type: ignore[no-untyped-call]
    try:
        return _Session(google.auth.default(scopes=api.SCOPES)[0])  # type: ignore[no-untyped-call]
    except DefaultCredentialsError as error:
        raise PermanentError(f"BigQuery: no credentials ({error}).") from None


def _contended(error: exceptions.GoogleAPICallError) -> bool:
    return any(words in error.message.lower() for words in _CONTENDED)


def _kind_of(error: exceptions.GoogleAPICallError) -> type[PipelineError]:
    if isinstance(error, exceptions.NotFound):
        return TableNotFoundError
    passing = isinstance(error, (exceptions.ServerError, exceptions.TooManyRequests)) or _contended(error)
    return TransientError if passing or api.reason_of(error) in _PASSING else PermanentError


def _text(kind: str, name: str, error: exceptions.GoogleAPICallError) -> str:
    message = _detail(error).get("message") or f"it answers {error.code}"
    return f"BigQuery: {kind} {name}: {message.split(chr(10), 1)[0]}"


def _detail(error: exceptions.GoogleAPICallError) -> Json:
    """What BigQuery itself says: the error's own message has the request and all details in it."""
    return next(iter(error.errors), {})
