"""The warehouse over Google's own client. A job has an id of ours: its work is done once, however often
it is asked for."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import requests
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError

from elt.errors import JobRunningError, PermanentError, PipelineError, TableNotFoundError, TransientError
from elt.settings import Settings

if TYPE_CHECKING:
    import datetime as dt

    from google.api_core.retry import Retry
    from google.cloud import bigquery

Json = dict[str, Any]


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


class Warehouse:
    """The stack's dataset. Leave it as a context manager: that closes the client.

    `patience` is how many seconds to wait for a job before JobRunningError; None: until its deadline.
    `submitted` is called with project, location and id of a job as soon as BigQuery has it. `emulated`:
    the client talks to an emulator, which has no tables over the lake's files.
    """

    def __init__(
        self,
        client: bigquery.Client,
        settings: Settings,
        *,
        patience: float | None = None,
        submitted: Callable[[str, str, str], None] | None = None,
        emulated: bool = False,
    ) -> None: ...

    def name(self, table: str) -> str:
        """Full name of a table, ready for SQL."""

    def tables(self) -> set[str]:
        """Names of all tables and views."""

    def table(self, name: str) -> Json | None:
        """Describe a table as the API does; None if it is not there."""

    def create(self, name: str, table: Json) -> Json | None:
        """Create a table or view and describe it; None: there is one already, which stays as it is."""

    def drop(self, name: str) -> None:
        """Delete a table that may be gone already."""

    def load(self, table: str, uri: str, fields: Sequence[Json], work: Work) -> None:
        """Load one Parquet object into an empty table."""

    def execute(self, statement: str, parameters: Mapping[str, Parameter], work: Work) -> None:
        """Run a statement or script."""

    def rows(
        self, statement: str, parameters: Mapping[str, Parameter], labels: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Run a SELECT; return its rows by column name."""
