"""The warehouse's tables and jobs. A job has an id of ours: it is done once, however often asked for."""

import datetime as dt
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

from nyc_taxi.errors import Refused, Trouble
from nyc_taxi.rest import TRANSIENT, Conflict, Json, Missing, Rest
from nyc_taxi.settings import Settings

Value = str | int | float | dt.date | dt.datetime | None

# One transaction at a time may change a table; the later one is aborted, or its statement refused.
_CONTENDED = ("aborted due to concurrent update", "could not serialize access", "transaction conflict")
TRIES = 8
_DECODE: Mapping[str, Callable[[str], Any]] = {
    "INTEGER": int,
    "INT64": int,
    "FLOAT": float,
    "FLOAT64": float,
    "BOOLEAN": lambda text: text == "true",
    "BOOL": lambda text: text == "true",
    "DATE": dt.date.fromisoformat,
}


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
        self._rest = Rest(settings)
        self._dataset = f"/datasets/{settings.dataset}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rest.close()

    def name(self, table: str) -> str:
        """Full name of a table, ready for SQL."""
        return f"`{self._settings.project}.{self._settings.dataset}.{table}`"

    def _reference(self, table: str) -> Json:
        return {"projectId": self._settings.project, "datasetId": self._settings.dataset, "tableId": table}

    def tables(self) -> set[str]:
        """Names of all tables and views."""
        pages = self._pages(f"{self._dataset}/tables", {"maxResults": "1000"})
        return {entry["tableReference"]["tableId"] for page in pages for entry in page.get("tables", [])}

    def table(self, name: str) -> Json | None:
        """Describe a table; None if it is not there."""
        try:
            return self._rest.call("GET", f"{self._dataset}/tables/{name}")
        except Missing:
            return None

    def create(self, name: str, table: Json) -> None:
        """Create a table or view; one that is there already stays as it is."""
        try:
            self._rest.call(
                "POST", f"{self._dataset}/tables", {**table, "tableReference": self._reference(name)}
            )
        except Conflict:
            return

    def drop(self, name: str) -> None:
        """Delete a table that may be gone already."""
        try:
            self._rest.call("DELETE", f"{self._dataset}/tables/{name}")
        except Missing:
            return

    def load(self, table: str, uri: str, fields: Sequence[Json], work: Work) -> Json:
        """Load one Parquet object into an empty table; return the finished job."""
        load = {
            "sourceUris": [uri],
            "sourceFormat": "PARQUET",
            "schema": {"fields": list(fields)},
            "destinationTable": self._reference(table),
            "createDisposition": "CREATE_NEVER",
            "writeDisposition": "WRITE_EMPTY",
        }
        return self._run({"load": load}, work)

    def execute(self, statement: str, parameters: Mapping[str, Parameter], work: Work) -> Json:
        """Run a statement or script; return the finished job."""
        return self._run(self._query(statement, parameters), work)

    def rows(
        self, statement: str, parameters: Mapping[str, Parameter], labels: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Run a SELECT; return its rows by column name."""
        job = self._run(self._query(statement, parameters), Work(f"taxiway-{uuid4().hex}", labels))
        path = f"/queries/{job['jobReference']['jobId']}"
        rows: list[dict[str, Any]] = []
        for page in self._pages(path, {"location": self._settings.location}):
            rows += [_decode(page["schema"]["fields"], row) for row in page.get("rows", [])]
        return rows

    def _pages(self, path: str, params: Json) -> Iterator[Json]:
        page = self._rest.call("GET", path, params=params)
        yield page
        while token := page.get("pageToken") or page.get("nextPageToken"):
            page = self._rest.call("GET", path, params={**params, "pageToken": token})
            yield page

    def _query(self, statement: str, parameters: Mapping[str, Parameter]) -> Json:
        query = {
            "query": statement,
            "useLegacySql": False,
            "maximumBytesBilled": str(self._settings.max_bytes_billed),
            "parameterMode": "NAMED",
            "queryParameters": [_named(name, given) for name, given in parameters.items()],
        }
        return {"query": query}

    def _run(self, configuration: Json, work: Work) -> Json:
        """Finish this work: its job that is there already, or a new one where those there have failed.

        BigQuery never forgets an id, so after a failed job comes the next number of the same id.
        """
        contentions = 0
        for number in itertools.count():
            job, found = self._submit({**configuration, "labels": dict(work.labels)}, f"{work.id}-{number}")
            error = self._finish(job)["status"].get("errorResult")
            if not error:
                return job
            if found:
                continue
            contentions += 1
            if not _contended(error) or contentions == TRIES:
                raise _failure(work.id, error)
            # Let the other one finish; two that wait must not meet again.
            time.sleep(random.uniform(0.1, 0.3) * 2**contentions)  # noqa: S311
        raise AssertionError("unreachable")

    def _submit(self, configuration: Json, job_id: str) -> tuple[Json, bool]:
        """Start a job, or find it where it was started before."""
        location = self._settings.location
        reference = {"projectId": self._settings.project, "jobId": job_id, "location": location}
        try:
            body = {"jobReference": reference, "configuration": configuration}
            return self._rest.call("POST", "/jobs", body), False
        except Conflict:
            return self._job(job_id), True

    def _job(self, job_id: str) -> Json:
        return self._rest.call("GET", f"/jobs/{job_id}", params={"location": self._settings.location})

    def _finish(self, job: Json) -> Json:
        """Wait for a job's end; `job` is brought up to date."""
        job_id, pause = job["jobReference"]["jobId"], 0.1
        while job["status"]["state"] != "DONE":
            time.sleep(pause)
            pause = min(pause * 1.5, 5)
            job.update(self._job(job_id))
        return job


def _contended(error: Json) -> bool:
    return any(words in error.get("message", "").lower() for words in _CONTENDED)


def _failure(job_id: str, error: Json) -> Refused | Trouble:
    text = f"BigQuery: job {job_id}: {error.get('message', '').split(chr(10), 1)[0]}"
    if _contended(error) or error.get("reason") in TRANSIENT:
        return Trouble(text)
    return Missing(text) if error.get("reason") == "notFound" else Refused(text)


def _named(name: str, given: Parameter) -> Json:
    value = None if given.value is None else str(given.value)
    return {"name": name, "parameterType": {"type": given.type}, "parameterValue": {"value": value}}


def _decode(fields: Sequence[Json], row: Json) -> dict[str, Any]:
    return {
        field["name"]: None if cell["v"] is None else _DECODE.get(field["type"], str)(cell["v"])
        for field, cell in zip(fields, row["f"], strict=True)
    }
