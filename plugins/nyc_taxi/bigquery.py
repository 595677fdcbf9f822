"""The warehouse's tables and jobs. A job has an id of ours: it is done once, however often asked for."""

import datetime as dt
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from google.cloud.bigquery import (
    DEFAULT_RETRY,
    Client,
    DatasetReference,
    LoadJobConfig,
    QueryJobConfig,
    ScalarQueryParameter,
    Table,
)

from nyc_taxi.errors import Missing, Refused, TaxiError, Trouble
from nyc_taxi.settings import Settings

Json = dict[str, Any]
Value = str | int | float | dt.date | dt.datetime | None
Job = Any  # the client has a class for each kind, and none in public for all of them

GOOGLE = "https://bigquery.googleapis.com"
# Seconds to connect within, and to wait for an answer: the emulator gives it when the job is done.
TIMEOUT = (5, 300)
# Seconds to try again within; longer outages are for whoever calls again.
RETRY = DEFAULT_RETRY.with_timeout(15)
# A job that was just started may not be found yet.
SOON = Retry(predicate=if_exception_type(exceptions.NotFound), timeout=15)
# Permanent by their status, but not for ever.
_PASSING = ("quotaExceeded", "resourcesExceeded", "tableUnavailable")
# One transaction at a time may change a table; the later one is aborted, or its statement refused.
_CONTENDED = ("aborted due to concurrent update", "could not serialize access", "transaction conflict")
TRIES = 8
# Rows that come with the answer that a query is done; without a limit none do.
PAGE = 10_000


@dataclass(frozen=True)
class Parameter:
    """A value for `@name` in a statement; `type` as BigQuery names it."""

    type: str
    value: Value


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
        self._dataset = DatasetReference(settings.project, settings.dataset)
        self._client = Client(
            settings.project,
            location=settings.location,
            # Said here, or the client looks for it in the environment.
            client_options={"api_endpoint": self._endpoint},
            _http=_session(settings),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def name(self, table: str) -> str:
        """Full name of a table, ready for SQL."""
        return f"`{self._dataset.table(table)}`"

    def tables(self) -> set[str]:
        """Names of all tables and views."""
        with self._errors("dataset", self._dataset.dataset_id):
            return {table.table_id for table in self._client.list_tables(self._dataset, retry=RETRY)}

    def table(self, name: str) -> Json | None:
        """Describe a table as the API does; None if it is not there."""
        try:
            with self._errors("table", name):
                return self._client.get_table(self._dataset.table(name), retry=RETRY).to_api_repr()
        except Missing:
            return None

    def create(self, name: str, table: Json) -> None:
        """Create a table or view; one that is there already stays as it is."""
        described = {**table, "tableReference": self._dataset.table(name).to_api_repr()}
        with self._errors("table", name):
            self._client.create_table(Table.from_api_repr(described), exists_ok=True, retry=RETRY)

    def drop(self, name: str) -> None:
        """Delete a table that may be gone already."""
        with self._errors("table", name):
            self._client.delete_table(self._dataset.table(name), not_found_ok=True, retry=RETRY)

    def load(self, table: str, uri: str, fields: Sequence[Json], work: Work) -> None:
        """Load one Parquet object into an empty table."""
        config = LoadJobConfig(
            source_format="PARQUET",
            schema=fields,
            create_disposition="CREATE_NEVER",
            write_disposition="WRITE_EMPTY",
            labels=dict(work.labels),
        )
        target = self._dataset.table(table)

        def start(job_id: str) -> Job:
            return self._client.load_table_from_uri(
                uri, target, job_id=job_id, job_config=config, retry=RETRY
            )

        with self._errors("job", work.id):
            self._run(start, work)

    def execute(self, statement: str, parameters: Mapping[str, Parameter], work: Work) -> None:
        """Run a statement or script."""
        with self._errors("job", work.id):
            self._query(statement, parameters, work)

    def rows(
        self, statement: str, parameters: Mapping[str, Parameter], labels: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Run a SELECT; return its rows by column name."""
        work = Work(f"taxiway-{uuid4().hex}", labels)
        with self._errors("job", work.id):
            job = self._query(statement, parameters, work)
            return [dict(row) for row in job.result(PAGE, retry=RETRY)]

    def _query(self, statement: str, parameters: Mapping[str, Parameter], work: Work) -> Job:
        config = QueryJobConfig(
            query_parameters=[ScalarQueryParameter(n, p.type, p.value) for n, p in parameters.items()],
            maximum_bytes_billed=self._settings.max_bytes_billed,
            labels=dict(work.labels),
        )

        def start(job_id: str) -> Job:
            # Its own way of doing a failed job again needs other ids than ours.
            return self._client.query(
                statement, job_id=job_id, job_config=config, retry=RETRY, job_retry=None
            )

        return self._run(start, work)

    def _run(self, start: Callable[[str], Job], work: Work) -> Job:
        """Finish this work: its job that is there already, or a new one where those there have failed.

        BigQuery never forgets an id, so after a failed job comes the next number of the same id.
        """
        contentions = 0
        for number in itertools.count():
            job, found = self._submit(start, f"{work.id}-{number}")
            error = _finish(job)
            if error is None:
                return job
            if found:
                continue
            contentions += 1
            if not _contended(error) or contentions == TRIES:
                raise error
            # Let the other one finish; two that wait must not meet again.
            time.sleep(random.uniform(0.1, 0.3) * 2**contentions)  # noqa: S311
        raise AssertionError("unreachable")

    def _submit(self, start: Callable[[str], Job], job_id: str) -> tuple[Job, bool]:
        """Start a job, or find it where it was started before."""
        try:
            return start(job_id), False
        except exceptions.Conflict:
            return SOON(self._client.get_job)(job_id, retry=RETRY), True

    @contextmanager
    def _errors(self, kind: str, name: str) -> Iterator[None]:
        """Turn the client's errors into ours."""
        try:
            yield
        except exceptions.RetryError as error:
            if isinstance(error.cause, exceptions.GoogleAPICallError):
                raise Trouble(_text(kind, name, error.cause)) from None
            raise self._silence(error.cause) from None
        except exceptions.GoogleAPICallError as error:
            raise _kind_of(error)(_text(kind, name, error)) from None
        except RefreshError as error:
            raise Refused(f"BigQuery: the credentials are not accepted ({error}).") from None
        except (requests.RequestException, GoogleAuthError, TimeoutError) as error:
            raise self._silence(error) from None

    def _silence(self, error: Exception) -> Trouble:
        return Trouble(f"BigQuery does not answer ({type(error).__name__} at {self._endpoint}).")


class _Session(AuthorizedSession):
    """Requests with an end: the client itself waits for ever to be connected, and for an answer."""

    def request(self, *what: Any, **how: Any) -> Any:
        return super().request(*what, **{**how, "timeout": TIMEOUT})  # type: ignore[no-untyped-call]


def _session(settings: Settings) -> _Session:
    if settings.bigquery_endpoint:
        return _Session(AnonymousCredentials())  # type: ignore[no-untyped-call]
    try:
        return _Session(google.auth.default(scopes=Client.SCOPE)[0])  # type: ignore[no-untyped-call]
    except DefaultCredentialsError as error:
        raise Refused(f"BigQuery: no credentials ({error}).") from None


def _finish(job: Job) -> exceptions.GoogleAPICallError | None:
    """Wait for a job's end; return the error that it failed with."""
    try:
        if not job.done(reload=False):
            job.result(retry=RETRY)
    except exceptions.GoogleAPICallError:
        # Either the job has failed, or only asking for it.
        if not job.done(retry=RETRY) or job.error_result is None:
            raise
    error: exceptions.GoogleAPICallError | None = job.exception()
    return error


def _contended(error: exceptions.GoogleAPICallError) -> bool:
    return any(words in error.message.lower() for words in _CONTENDED)


def _kind_of(error: exceptions.GoogleAPICallError) -> type[TaxiError]:
    if isinstance(error, exceptions.NotFound):
        return Missing
    passing = isinstance(error, (exceptions.ServerError, exceptions.TooManyRequests)) or _contended(error)
    return Trouble if passing or _detail(error).get("reason") in _PASSING else Refused


def _text(kind: str, name: str, error: exceptions.GoogleAPICallError) -> str:
    message = _detail(error).get("message") or f"it answers {error.code}"
    return f"BigQuery: {kind} {name}: {message.split(chr(10), 1)[0]}"


def _detail(error: exceptions.GoogleAPICallError) -> Json:
    """What BigQuery itself says: the client's message has the request and all details in it."""
    return next(iter(error.errors), {})
