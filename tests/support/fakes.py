"""What stages reach the outside by, in memory: connections over fake services, a publisher, a clock.

`Stack` has all of it and runs stages:

    stack = Stack()
    stack.source.publish("yellow", "2024-01", content)
    stack.run("download", "yellow", "2024-01")
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Self

from fake_bigquery import FakeBigQuery
from fake_storage import FakeStorage
from google.cloud import bigquery
from google.cloud.storage import retry as storage_retry

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.errors import SettingError, SourceNotPublishedError
from elt.periods import Month, Partition, Period
from elt.settings import Settings
from elt.sources.client import Published
from elt.stage_request import StageRequest
from elt.stages import run
from elt.stores.bigquery import Warehouse
from elt.stores.gcs import Lake

SETTINGS = Settings("b", "d", "EU")
# As the stores' own, over in a moment.
BIGQUERY_RETRY = bigquery.DEFAULT_RETRY.with_timeout(0.2).with_delay(initial=0.001, maximum=0.01)
STORAGE_RETRY = storage_retry.DEFAULT_RETRY.with_timeout(0.2).with_delay(initial=0.001, maximum=0.01)


class FakeClock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        # Like a real one it begins anywhere: only differences mean something.
        return 1_000 + self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@dataclass
class File:
    """A published file; without an ETag it is known by date and size only."""

    content: bytes
    etag: str | None
    last_modified: str | None = "Wed, 20 Mar 2024 06:00:00 GMT"


class FakeTransfer:
    """A file on its way, in one piece; `fault` is raised before its end."""

    def __init__(self, published: Published, content: bytes, fault: Exception | None) -> None:
        self.published, self._content, self._fault = published, content, fault

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        if self._fault:
            raise self._fault


@dataclass
class FakePublisher:
    """Files by partition; `requests` are the HEADs and GETs it had."""

    base_url: str = "https://publisher.test"
    files: dict[Partition, File] = field(default_factory=dict)
    requests: list[tuple[str, Partition]] = field(default_factory=list)
    fault: Exception | None = None
    closed: int = 0

    def publish(self, dataset: str, month: str | None, content: bytes, etag: str | None = "") -> None:
        """Publish a file; its ETag is made from the content unless one is given (None: it has none)."""
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest() if etag == "" else etag
        self.files[Partition.parse(dataset, month)] = File(content, etag)


@dataclass
class FakeSource:
    """The source of one dataset."""

    publisher: FakePublisher
    dataset: Dataset

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.publisher.closed += 1

    @property
    def base_url(self) -> str:
        return self.publisher.base_url

    def probe(self, month: Month | None) -> Published | None:
        return self._ask("HEAD", month)

    @contextmanager
    def open(self, month: Month | None) -> Iterator[FakeTransfer]:
        published = self._ask("GET", month)
        if published is None:
            raise SourceNotPublishedError(f"{self.dataset.file_name(month)}: not published")
        content = self.publisher.files[Partition(self.dataset.name, month)].content
        yield FakeTransfer(published, content, self.publisher.fault)

    def _ask(self, method: str, month: Month | None) -> Published | None:
        partition = Partition(self.dataset.name, month)
        self.publisher.requests.append((method, partition))
        file = self.publisher.files.get(partition)
        if file is None:
            return None
        url = f"{self.base_url}/{self.dataset.file_name(month)}"
        return Published(url, file.etag, file.last_modified, len(file.content))


@dataclass
class FakeConnections:
    """The same services for everybody; `patience` is the warehouse's."""

    storage: FakeStorage
    bigquery: FakeBigQuery
    publisher: FakePublisher
    settings: Settings = SETTINGS
    patience: float | None = None
    database: Any = None
    emulated: bool = True
    project: str = "p"
    clock: FakeClock = field(default_factory=FakeClock)
    submitted: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def has_postgres(self) -> bool:
        return self.database is not None

    def lake(self) -> Lake:
        return Lake(self.storage.client(), self.settings.bucket, retry=STORAGE_RETRY)

    def warehouse(self) -> Warehouse:
        return Warehouse(
            self.bigquery.client(),
            self.settings,
            patience=self.patience,
            submitted=lambda *job: self.submitted.append(job),
            emulated=self.emulated,
            retry=BIGQUERY_RETRY,
            clock=self.clock,
        )

    def postgres(self) -> AbstractContextManager[Any]:
        if self.database is None:
            raise SettingError("there is no Postgres")
        return nullcontext(self.database)

    def source(self, dataset: Dataset) -> FakeSource:
        return FakeSource(self.publisher, dataset)


class Stack:
    """A whole stack in memory."""

    def __init__(self, database: Any = None) -> None:
        self.storage = FakeStorage("b")
        self.bigquery = FakeBigQuery(self.storage)
        self.publisher = FakePublisher()
        self.connections = FakeConnections(self.storage, self.bigquery, self.publisher, database=database)

    def request(self, dataset: str | Dataset, month: str | None, run_id: str = "run", **how) -> StageRequest:
        ds = DATASETS[dataset] if isinstance(dataset, str) else dataset
        settings = self.connections.settings
        return StageRequest(ds, Period.parse(month) if month else None, run_id, settings, **how)

    def run(
        self, stage: str, dataset: str | Dataset, month: str | None, run_id: str = "run", **how
    ) -> dict[str, Any]:
        """Run one stage; what it returns."""
        return run(stage, self.request(dataset, month, run_id, **how), self.connections)

    def objects(self) -> dict[str, Any]:
        """The bucket's objects by name."""
        return self.storage.objects["b"]

    def warehouse(self) -> Warehouse:
        return self.connections.warehouse()

    def replace(self, **settings: Any) -> None:
        """Change the settings of what follows."""
        self.connections.settings = replace(self.connections.settings, **settings)
