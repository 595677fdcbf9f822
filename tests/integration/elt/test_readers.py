"""Whoever reads while a month is replaced sees the old one or the new one: never none, never both."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import psycopg
import pyarrow as pa
import pytest
import taxi
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.cloud.bigquery_storage_v1.types import DataFormat, ReadSession

from elt.catalogue.registry import DATASETS
from elt.errors import AuditError
from elt.layout import typed_object
from elt.periods import Month as CalendarMonth

pytestmark = pytest.mark.emulators
# Enough for a replacement to take longer than a reading.
EDITIONS = (8_000, 12_000)
OTHER_MONTH = 500
ROUNDS = 3
Reading = frozenset[tuple[str, int]]


@pytest.fixture(scope="module")
def files() -> dict[int, bytes]:
    """January in two editions, by their rows."""
    return {rows: taxi.parquet(taxi.trips("2024-01", rows)) for rows in EDITIONS}


@dataclass
class Month:
    """January, which is replaced while December stays."""

    stack: object
    source: object
    files: dict[int, bytes]

    def serve(self, rows: int) -> None:
        self.source.serve(taxi.YELLOW.format("2024-01"), self.files[rows])

    def run(self, run_id: str, *stages: str, month: str = "2024-01") -> None:
        for stage in stages:
            self.stack.run(stage, "yellow", month, run_id)


@pytest.fixture
def month(stack, dsn, faulty_source, files) -> Month:
    """Both months, published everywhere."""
    faulty_source.serve(taxi.YELLOW.format("2023-12"), taxi.parquet(taxi.trips("2023-12", OTHER_MONTH)))
    month = Month(stack.with_postgres(dsn), faulty_source, files)
    month.serve(EDITIONS[0])
    for each in ("2023-12", "2024-01"):
        month.run("first", "download", "conform", "stage", "audit", "publish", "mart", "postgres", month=each)
    return month


def expected(*editions: int) -> set[Reading]:
    return {frozenset({("2023-12", OTHER_MONTH), ("2024-01", rows)}) for rows in editions}


@contextmanager
def reading(*readers: Callable[[], Reading]) -> Iterator[list[set[Reading]]]:
    """Read in a loop, each reader in a thread of its own; what was seen is complete afterwards."""
    stop, seen = threading.Event(), [set() for _ in readers]

    def loop(read: Callable[[], Reading], into: set[Reading]) -> None:
        while not stop.is_set():
            into.add(read())

    with ThreadPoolExecutor(len(readers)) as pool:
        loops = [pool.submit(loop, read, into) for read, into in zip(readers, seen, strict=True)]
        try:
            yield seen
            time.sleep(0.5)
        finally:
            stop.set()
        for each in loops:
            each.result()


def queries(stack, table: str, rows: str = "COUNT(*)") -> Callable[[], Reading]:
    """A reader by SQL."""

    def read() -> Reading:
        found = stack.select(
            f"SELECT FORMAT_DATE('%Y-%m', source_month) AS month, {rows} AS n FROM TABLE GROUP BY month",
            table,
        )
        return frozenset((row["month"], row["n"]) for row in found)

    return read


def storage(emulators, stack, table: str) -> Callable[[], Reading]:
    """A reader by the Storage Read API, which waits for nobody's job."""
    transport = BigQueryReadGrpcTransport(channel=grpc.insecure_channel(emulators.bigquery_grpc))
    client = BigQueryReadClient(transport=transport)
    wanted = ReadSession(
        table=f"projects/{stack.connections.project}/datasets/{stack.connections.settings.dataset}/tables/{table}",
        data_format=DataFormat.ARROW,
        read_options=ReadSession.TableReadOptions(selected_fields=["source_month"]),
    )

    def read() -> Reading:
        session = client.create_read_session(
            parent=f"projects/{stack.connections.project}", read_session=wanted, max_stream_count=1
        )
        schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
        months: Counter[str] = Counter()
        for stream in session.streams:
            for answer in client.read_rows(stream.name):
                batch = pa.ipc.read_record_batch(
                    pa.py_buffer(answer.arrow_record_batch.serialized_record_batch), schema
                )
                for found in batch.column("source_month").value_counts().to_pylist():
                    months[f"{found['values']:%Y-%m}"] += found["counts"]
        return frozenset(months.items())

    return read


def in_postgres(dsn: str, table: str, rows: str = "count(*)") -> Callable[[], Reading]:
    """A reader of Postgres."""

    def read() -> Reading:
        with psycopg.connect(dsn, autocommit=True) as connection:
            query = f"SELECT to_char(source_month, 'YYYY-MM'), ({rows})::int FROM {table} GROUP BY 1"
            return frozenset(connection.execute(query).fetchall())

    return read


def test_of_a_month_that_is_published_again(month, emulators):
    table = "yellow_trips"
    with reading(queries(month.stack, table), storage(emulators, month.stack, table)) as seen:
        for number in range(1, ROUNDS + 1):
            month.serve(EDITIONS[number % 2])
            month.run(f"run {number}", "download", "conform", "stage", "audit", "publish")
    assert seen == [expected(*EDITIONS)] * 2


def test_of_a_mart_that_is_built_again(month, emulators):
    with reading(queries(month.stack, "daily_zone_revenue", "SUM(trips)")) as seen:
        for number in range(1, ROUNDS + 1):
            month.serve(EDITIONS[number % 2])
            month.run(f"run {number}", "download", "conform", "stage", "audit", "publish", "mart")
    assert seen == [expected(*EDITIONS)]


def test_of_a_month_whose_audit_fails(month, emulators):
    """Nothing is published, and the old month can be read all the while."""
    table = "yellow_trips"
    typed = typed_object(DATASETS["yellow"], CalendarMonth(2024, 1))
    with reading(queries(month.stack, table), storage(emulators, month.stack, table)) as seen:
        for number in range(ROUNDS):
            month.serve(EDITIONS[1])
            run_id = f"bad {number}"
            month.run(run_id, "download", "conform")
            with month.stack.lake() as lake:
                lake.describe(lake.find(typed), {"rows": "7"})
            month.run(run_id, "stage")
            with pytest.raises(AuditError, match="row_count"):
                month.run(run_id, "audit")
    assert seen == [expected(EDITIONS[0])] * 2


def test_of_a_partition_that_is_swapped_in(month, dsn):
    readers = (in_postgres(dsn, "yellow_trips"), in_postgres(dsn, "hourly_demand", "sum(trips)"))
    with reading(*readers) as seen:
        for number in range(1, 3 * ROUNDS + 1):
            month.serve(EDITIONS[number % 2])
            month.run(f"run {number}", "download", "postgres")
    assert seen == [expected(*EDITIONS)] * 2
