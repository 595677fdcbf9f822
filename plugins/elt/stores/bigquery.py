"""The warehouse, over Google's own client.

A job has an id of ours: its work is done once, however often it is asked for.
"""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import requests
from google.api_core import exceptions
from google.api_core.retry import if_exception_type
from google.auth.exceptions import GoogleAuthError

from elt.errors import (
    JobRunningError,
    PermanentError,
    PipelineError,
    TableNotFoundError,
    TransientError,
)
from elt.settings import Settings
from elt.stores import denied, is_busy, token_error

if TYPE_CHECKING:
    # Google's client imports pandas where that is installed: a second of CPU. Whoever made the client that
    # a Warehouse is given has paid it; importing this module costs nothing.
    from google.api_core.retry import Retry
    from google.cloud.bigquery import Client, LoadJob, QueryJob, QueryJobConfig
    from google.cloud.bigquery.table import RowIterator

    Job = LoadJob | QueryJob

Json = dict[str, Any]
T = TypeVar("T")
Submitted = Callable[[str, str, str], None]

# Seconds to wait for one answer: the emulator gives it only when the job has ended.
TIMEOUT = 300.0
# Seconds to repeat a request within; longer outages are for whoever calls again.
REPEAT_SECONDS = 15.0
# Seconds that a job's cancellation may take to be accepted.
CANCEL_SECONDS = 5.0
# Seconds between two requests for a job's state: at first, and at most.
POLL_SECONDS = (0.1, 2.0)
# Runs of one piece of work that other transactions abort, before it is given up for now.
CONTENDED_RUNS = 8
# Jobs that may fail under one id, before somebody has to look.
NUMBERS = 100
# One transaction at a time may change a table; the later one is aborted, or its statement refused. BigQuery
# gives these the reason of any wrong query, so only the text tells them apart.
_CONTENDED = ("aborted due to concurrent update", "could not serialize access", "transaction conflict")
# What a job may fail with for good; whatever else it fails with is BigQuery's own trouble.
# https://cloud.google.com/bigquery/docs/error-messages
_FINAL = (
    "accessDenied", "billingNotEnabled", "billingTierLimitExceeded", "blocked", "duplicate", "invalid",
    "invalidQuery", "policyViolation", "resourceInUse", "responseTooLarge", "stopped",
)  # fmt: skip
# Answered with a 403 whatever is granted.
_NO_GRANT_HELPS = ("billingNotEnabled", "billingTierLimitExceeded", "blocked", "policyViolation")
# Answered with a 4xx, but not for ever.
_PASSING = ("quotaExceeded", "rateLimitExceeded", "resourcesExceeded", "tableUnavailable")


class Clock(Protocol):
    """What waits and measures: the module `time`, or a test's."""

    def monotonic(self) -> float:
        """Seconds since any moment."""

    def sleep(self, seconds: float, /) -> None:
        """Return so many seconds later."""


@dataclass(frozen=True)
class Parameter:
    """A value for `@name` in a statement; `type` as BigQuery names it."""

    type: str
    value: str | int | float | dt.date | dt.datetime | None


@dataclass(frozen=True)
class Work:
    """What a job is for: an id that is the same whenever the same work is asked for, and labels.

    `awaited` is the id of the job that the caller has waited for already (see `StageRequest`).
    """

    id: str
    labels: Mapping[str, str]
    awaited: str | None = None


class Plan(NamedTuple):
    """A statement's type as BigQuery names it (SELECT), the bytes that it would read, its columns' types."""

    kind: str
    size: int
    fields: Mapping[str, str]


class Warehouse:
    """The stack's dataset. Leave it as a context manager: that closes the client.

    `patience` is how many seconds to wait for a job before JobRunningError; None: until its deadline.
    `submitted` is called with project, location and id of a job as soon as BigQuery has it. `emulated`:
    the client talks to an emulator, which has no tables over the lake's files.

    Raises PermanentError, TableNotFoundError among them, and TransientError, with BigQuery's own sentence.
    """

    def __init__(
        self,
        client: Client,
        settings: Settings,
        *,
        patience: float | None = None,
        submitted: Submitted | None = None,
        emulated: bool = False,
        retry: Retry | None = None,
        clock: Clock = time,
    ) -> None:
        from google.cloud.bigquery import DEFAULT_RETRY

        self.emulated = emulated
        self._client, self._settings, self._clock = client, settings, clock
        self._patience, self._submitted = patience, submitted
        self._how: Json = {"retry": retry or DEFAULT_RETRY.with_timeout(REPEAT_SECONDS), "timeout": TIMEOUT}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    @property
    def project(self) -> str:
        """The project that has the dataset and runs the jobs."""
        return str(self._client.project)

    def name(self, table: str) -> str:
        """Full name of a table, ready for SQL."""
        return f"`{self.project}.{self._settings.dataset}.{table}`"

    def tables(self) -> set[str]:
        """Names of all tables and views."""
        with _errors("dataset", self._settings.dataset):
            dataset = f"{self.project}.{self._settings.dataset}"
            found = self._client.list_tables(dataset, page_size=1000, **self._how)
            return {table.table_id for table in found}

    def columns(self) -> dict[str, list[str]]:
        """Names of all columns by table or view, in their order."""
        dataset = f"`{self.project}.{self._settings.dataset}`"
        text = (
            f"SELECT table_name, column_name FROM {dataset}.INFORMATION_SCHEMA.COLUMNS "  # noqa: S608
            "ORDER BY table_name, ordinal_position"
        )
        found: dict[str, list[str]] = {}
        for row in self.query(text, {}, {"app": "taxiway", "step": "report"}):
            found.setdefault(row["table_name"], []).append(row["column_name"])
        return found

    def table(self, name: str) -> Json | None:
        """Describe a table as the API does; None if it is not there."""
        try:
            with _errors("table", name):
                found = self._client.get_table(self._full(name), **self._how)
        except TableNotFoundError:
            return None
        return dict(found.to_api_repr())

    def head(self, name: str, count: int) -> list[dict[str, Any]]:
        """Read some rows of a table by column name; free, however large it is."""
        with _errors("table", name):
            found = self._client.list_rows(self._full(name), max_results=count, **self._how)
            return [dict(row.items()) for row in found]

    def create(self, name: str, table: Json) -> Json | None:
        """Create a table or view and describe it; None if there is one already, which stays as it is."""
        from google.cloud.bigquery import Table

        with _errors("table", name):
            reference = {"projectId": self.project, "datasetId": self._settings.dataset, "tableId": name}
            wanted = Table.from_api_repr({**table, "tableReference": reference})
            try:
                made = self._client.create_table(wanted, **self._how)
            except exceptions.Conflict:
                return None
        return dict(made.to_api_repr())

    def describe(self, name: str, text: str, etag: str | None) -> None:
        """Give a table another description; nothing if it has changed since `etag` was read."""
        from google.cloud.bigquery import Table

        reference = {"projectId": self.project, "datasetId": self._settings.dataset, "tableId": name}
        wanted = Table.from_api_repr({"tableReference": reference, "description": text, "etag": etag})
        with _errors("table", name), suppress(exceptions.PreconditionFailed):
            self._client.update_table(wanted, ["description"], **self._how)

    def drop(self, name: str) -> None:
        """Delete a table that may be gone already."""
        with _errors("table", name):
            self._client.delete_table(self._full(name), not_found_ok=True, **self._how)

    def load(self, table: str, uri: str, fields: Sequence[Json], work: Work) -> None:
        """Load one Parquet object into an empty table."""
        from google.cloud.bigquery import LoadJobConfig

        config = LoadJobConfig(
            source_format="PARQUET",
            schema=list(fields),
            create_disposition="CREATE_NEVER",
            # Whatever goes wrong with ids, rows are never there twice.
            write_disposition="WRITE_EMPTY",
            **self._limits(work.labels),
        )
        load = partial(self._client.load_table_from_uri, uri, self._full(table), job_config=config)
        self._run(work, load)

    def load_all(self, loads: Sequence[tuple[str, str, Sequence[Json], Work]]) -> dict[str, PermanentError]:
        """Load objects into tables side by side, as `load` does; errors of some, by table."""
        # Submitted first, and only then waited for.
        begun = copy(self)
        begun._patience = 0.0
        running, failed = list[tuple[str, str, Sequence[Json], Work]](), dict[str, PermanentError]()
        for warehouse, some in ((begun, loads), (self, running)):
            for load in some:
                try:
                    warehouse.load(*load)
                except JobRunningError:
                    if warehouse is self:
                        raise
                    running.append(load)
                except PermanentError as error:
                    failed[load[0]] = error
        return failed

    def execute(self, statement: str, parameters: Mapping[str, Parameter], work: Work) -> None:
        """Run a statement or script."""
        config = self._query(parameters, work.labels)
        # Without job_retry=None the client would repeat a failed statement under an id of its own.
        self._run(work, partial(self._client.query, statement, config, job_retry=None))

    def query(
        self, statement: str, parameters: Mapping[str, Parameter], labels: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Run a statement that takes a moment and return its rows by column name.

        One request where BigQuery answers at once, under an id of BigQuery's: whoever is killed does not find
        it again.
        """

        def run() -> list[dict[str, Any]]:
            found = self._client.query_and_wait(
                statement,
                job_config=self._query(parameters, labels),
                location=self._settings.location,
                api_timeout=TIMEOUT,
                wait_timeout=float(self._settings.job_seconds),
                retry=self._how["retry"],
                job_retry=None,  # type: ignore[arg-type]  # as documented: no repetition
            )
            return [dict(row.items()) for row in found]

        with _errors("query", labels.get("step", "")):
            return self._uncontended(run)

    def plan(self, statement: str) -> Plan:
        """What BigQuery would do for a statement. Nothing is run, and nothing is billed."""
        config = self._question()
        config.dry_run = True
        with _errors("query", ""):
            job = self._client.query(
                statement, config, location=self._settings.location, job_retry=None, **self._how
            )
        fields = {field.name: field.field_type for field in job.schema or ()}
        return Plan(str(job.statement_type or ""), int(job.total_bytes_processed or 0), fields)

    def ask(self, statement: str, page_rows: int | None = None) -> RowIterator:
        """Run a statement that somebody has typed; a table's name alone means one of the stack's dataset.

        Rows come in pages of BigQuery's choice, or of `page_rows`.
        An interruption cancels the job: nobody pays for what nobody waits for.
        """
        # Made here, so that the job can be cancelled before BigQuery has answered.
        job_id, location = f"taxiway-ask-{uuid.uuid4().hex}", self._settings.location
        with _errors("query", ""):
            try:
                job = self._client.query(
                    statement,
                    self._question(),
                    job_id=job_id,
                    location=location,
                    job_retry=None,
                    **self._how,
                )
                return job.result(
                    page_size=page_rows,
                    timeout=float(self._settings.job_seconds),
                    retry=self._how["retry"],
                )
            except KeyboardInterrupt:
                how: Json = {"retry": None, "timeout": CANCEL_SECONDS}
                # Who waits at a terminal does not wait again; the job's own deadline comes in any case.
                with suppress(exceptions.GoogleAPIError, requests.RequestException):
                    self._client.cancel_job(job_id, location=location, **how)
                raise

    def _question(self) -> QueryJobConfig:
        config = self._query({}, {"app": "taxiway", "step": "ask"})
        config.default_dataset = f"{self.project}.{self._settings.dataset}"
        return config

    def _limits(self, labels: Mapping[str, str]) -> Json:
        return {"labels": dict(labels), "job_timeout_ms": self._settings.job_seconds * 1000}

    def _query(self, parameters: Mapping[str, Parameter], labels: Mapping[str, str]) -> QueryJobConfig:
        from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter

        return QueryJobConfig(
            query_parameters=[ScalarQueryParameter(name, p.type, p.value) for name, p in parameters.items()],
            maximum_bytes_billed=self._settings.max_bytes_billed,
            **self._limits(labels),
        )

    def _run(self, work: Work, submit: Callable[..., Job]) -> None:
        """Have this work done by its job: one that is there already, else a new one."""
        jobs = self._jobs(work, submit)

        def run() -> None:
            job = next(jobs)
            if error := self._ended(job):
                raise error

        # By the work, not by the number of the job: the link to the job shows which one it was.
        with _errors("job", work.id):
            self._uncontended(run)

    def _uncontended(self, run: Callable[[], T]) -> T:
        """Run something again as long as other transactions are in its way, with pauses that grow."""
        # Not by Google's Retry: each run of a job needs an id of its own.
        for runs in range(1, CONTENDED_RUNS):
            try:
                return run()
            except exceptions.GoogleAPICallError as error:
                if not _is_contended(error):
                    raise
            # Let the other one finish; two that wait must not meet again.
            self._clock.sleep(random.uniform(0.1, 0.3) * 2**runs)  # noqa: S311 - no secret
        return run()

    def _jobs(self, work: Work, submit: Callable[..., Job]) -> Iterator[Job]:
        """The job that the caller has waited for or the one to find or start, then new ones."""
        work_id, _, awaited = (work.awaited or "").rpartition("-")
        number = 0
        if work_id == work.id:
            # However it has ended, that is the answer; it is not replaced in silence.
            yield self._job(work_id, int(awaited))
            number = int(awaited) + 1
        while True:
            job, number = self._begin(work, submit, number)
            yield job
            number += 1

    def _begin(self, work: Work, submit: Callable[..., Job], number: int) -> tuple[Job, int]:
        """Start the work under the first number that is free, or find its job that is under way or done.

        BigQuery never takes an id again: after a job that has failed comes the next number of the same id.
        """
        while number < NUMBERS:
            try:
                job = submit(job_id=f"{work.id}-{number}", location=self._settings.location, **self._how)
            except exceptions.Conflict:
                job, number = self._latest(work.id, number)
                if job.state == "DONE" and job.error_result:
                    number += 1
                    continue
            # Also for a job that was found: the task that has lost it wants its link again.
            if self._submitted:
                self._submitted(self.project, self._settings.location, job.job_id)
            return job, number
        raise PermanentError(
            f"BigQuery: job {work.id} has failed {NUMBERS} times. See its last reason in Google's console, "
            "then trigger a new run."
        )

    def _latest(self, work_id: str, low: int) -> tuple[Job, int]:
        """The job with the highest number; `low` exists, and there are no gaps: halving finds it."""
        # A job that was just started may not be found yet.
        soon = self._how["retry"].with_predicate(if_exception_type(exceptions.NotFound))
        job = soon(self._job)(work_id, low)
        high, step = NUMBERS, 1
        while job.state == "DONE" and job.error_result and high - low > 1:
            # Steps that grow, since most often few have failed; halves once the end is near.
            probe = min(low + step, (low + high) // 2)
            try:
                job, low, step = self._job(work_id, probe), probe, 2 * step
            except exceptions.NotFound:
                high = probe
        return job, low

    def _job(self, work_id: str, number: int) -> Job:
        job: Job = self._client.get_job(  # type: ignore[assignment]  # we start no others
            f"{work_id}-{number}", location=self._settings.location, **self._how
        )
        return job

    def _ended(self, job: Job) -> exceptions.GoogleAPICallError | None:
        """Wait for a job's end; the error that it ended with."""
        began = self._clock.monotonic()
        pause, longest = POLL_SECONDS
        while job.state != "DONE":
            waited = self._clock.monotonic() - began
            if self._patience is not None and waited >= self._patience:
                raise JobRunningError(job.job_id, self.project, self._settings.location)
            if waited >= self._settings.job_seconds + TIMEOUT:
                # BigQuery should have stopped it by itself (`job_timeout_ms`).
                raise TransientError(f"BigQuery: job {job.job_id} has not ended after {waited:,.0f} s.")
            self._clock.sleep(pause)
            pause = min(pause * 1.5, longest)
            job.reload(**self._how)
        if not (found := job.error_result):
            return None
        # As the exception that an answer with that error would be.
        reason = found.get("reason")
        status = 404 if reason == "notFound" else 400 if reason in _FINAL else 500
        error: exceptions.GoogleAPICallError = exceptions.from_http_status(  # type: ignore[no-untyped-call]
            status, found.get("message", ""), errors=[found]
        )
        return error

    def _full(self, table: str) -> str:
        return f"{self.project}.{self._settings.dataset}.{table}"


@contextmanager
def _errors(kind: str, name: str) -> Iterator[None]:
    """Turn the client's errors into ours."""
    try:
        yield
    except (exceptions.GoogleAPIError, requests.RequestException, GoogleAuthError, TimeoutError) as error:
        raise _ours(error, f"{kind} {name}".strip()) from None


def _is_contended(error: exceptions.GoogleAPICallError) -> bool:
    return any(words in error.message.lower() for words in _CONTENDED)


def _ours(error: Exception, what: str) -> PipelineError:
    if isinstance(error, exceptions.RetryError) and error.cause:
        # It was repeated until the time was over, so it was worth repeating.
        cause = _ours(error.cause, what)
        return cause if isinstance(cause, TransientError) else TransientError(str(cause))
    if isinstance(error, exceptions.GoogleAPICallError):
        # BigQuery's own sentence: the error's has the request and all details in it.
        detail: Mapping[str, Any] = next(iter(error.errors), {})
        message = detail.get("message") or f"it answers {error.code}"
        text = f"BigQuery: {what}: {message.splitlines()[0]}"
        if isinstance(error, exceptions.NotFound):
            return TableNotFoundError(text)
        reason = detail.get("reason")
        if reason == "accessDenied" or (
            error.code in (401, 403) and reason not in (*_PASSING, *_NO_GRANT_HELPS)
        ):
            return denied(f"BigQuery: {what}", message.splitlines()[0].rstrip("."))
        passing = reason in _PASSING or _is_contended(error) or is_busy(error.code or 0)
        return TransientError(text) if passing else PermanentError(text)
    if isinstance(error, GoogleAuthError):
        return token_error(error, "BigQuery")
    request = getattr(error, "request", None)
    where = f" at {urlsplit(request.url)._replace(path='', query='').geturl()}" if request is not None else ""
    return TransientError(f"BigQuery does not answer ({type(error).__name__}{where}).")
