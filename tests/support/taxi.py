"""Files like TLC's, made on the spot, and a stack of one's own in the emulated cloud for each test."""

import datetime as dt
import io
import itertools
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from emulators import Emulators, free_port

from elt.settings import Settings
from taxiway.embedded.postgres import PostgresServer

PASSWORD = "of-a-test"  # a throw-away server on loopback
YELLOW = "/trip-data/yellow_tripdata_{}.parquet"
ZONES = "/misc/taxi_zone_lookup.csv"
ZONES_CSV = (
    b'"LocationID","Borough","Zone","service_zone"\n'
    b'1,"EWR","Newark Airport","EWR"\n2,"Queens","Jamaica Bay","Boro Zone"\n264,"Unknown","N/A","N/A"\n'
)
_numbers = itertools.count(1)


def trips(month: str = "2024-01", rows: int = 100, strays: int = 0, seed: int = 0) -> pa.Table:
    """Yellow trips as TLC has them since 2023 (2025: with one more fee); the first `strays` are of 2008."""
    start = dt.datetime.fromisoformat(f"{month}-01T00:00:00")
    pickups = [start + dt.timedelta(minutes=n % 40_000) for n in range(rows)]
    pickups[:strays] = [dt.datetime.fromisoformat("2008-12-31T23:02:30")] * min(strays, rows)
    amounts = [round(10 + (n * 7 + seed) % 50 + 0.25, 2) for n in range(rows)]
    whole, small, money = pa.int64(), pa.int32(), pa.float64()
    fees = {"cbd_congestion_fee": pa.array([0.75] * rows, money)} if month >= "2025" else {}
    return pa.table(
        {
            "VendorID": pa.array([1 + n % 2 for n in range(rows)], small),
            "tpep_pickup_datetime": pa.array(pickups, pa.timestamp("us")),
            "tpep_dropoff_datetime": pa.array(
                [p + dt.timedelta(minutes=9) for p in pickups], pa.timestamp("us")
            ),
            "passenger_count": pa.array([None if n % 10 == 9 else n % 5 for n in range(rows)], whole),
            "trip_distance": pa.array([n % 20 / 2 for n in range(rows)], money),
            "RatecodeID": pa.array([1] * rows, whole),
            "store_and_fwd_flag": pa.array(["N"] * rows),
            "PULocationID": pa.array([1 + n % 2 for n in range(rows)], small),
            "DOLocationID": pa.array([1 + n % 2 for n in range(rows)], small),
            "payment_type": pa.array([1] * rows, whole),
            "fare_amount": pa.array(amounts, money),
            "extra": pa.array([1.0] * rows, money),
            "mta_tax": pa.array([0.5] * rows, money),
            "tip_amount": pa.array([2.0] * rows, money),
            "tolls_amount": pa.array([0.0] * rows, money),
            "improvement_surcharge": pa.array([1.0] * rows, money),
            "total_amount": pa.array([amount + 4.5 for amount in amounts], money),
            "congestion_surcharge": pa.array([2.5] * rows, money),
            "Airport_fee": pa.array([0.0] * rows, money),
            **fees,
        }
    )


def parquet(table: pa.Table, **options: object) -> bytes:
    """The table as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def with_column(table: pa.Table, name: str, array: pa.Array) -> pa.Table:
    """The table with one column replaced."""
    return table.set_column(table.schema.get_field_index(name), name, array)


@contextmanager
def postgres_running(folder: Path) -> Iterator[PostgresServer]:
    """Run a real PostgreSQL."""
    server = PostgresServer(folder / "data", free_port())
    server.initialise(PASSWORD)
    with (folder / "log").open("wb") as log:
        # What a power cut would lose is lost with the test anyway.
        command = [*server.command(), "-c", "fsync=off"]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
    try:
        server.wait_until_ready(PASSWORD)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def new_stack(emulators: Emulators, source: str) -> Settings:
    """A bucket and a dataset that no other test has; no Postgres."""
    name = _new_name()
    bucket = requests.post(
        f"{emulators.storage_url}/storage/v1/b", params={"project": emulators.project}, json={"name": name}
    )
    reference = {"projectId": emulators.project, "datasetId": name}
    dataset = requests.post(
        f"{emulators.bigquery_url}/bigquery/v2/projects/{emulators.project}/datasets",
        json={"datasetReference": reference, "location": emulators.location},
    )
    assert bucket.ok, bucket.text
    assert dataset.ok, dataset.text
    return Settings(
        project=emulators.project,
        bucket=name,
        dataset=name,
        location=emulators.location,
        source_url=source,
        storage_endpoint=emulators.storage_url,
        bigquery_endpoint=emulators.bigquery_url,
    )


def new_database(server: PostgresServer) -> str:
    """Connection string of a database that no other test has."""
    name = _new_name()
    with psycopg.connect(server.conninfo("postgres", PASSWORD, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")  # the fast one without fsync
    return f"host=127.0.0.1 port={server.port} user=postgres password={PASSWORD} dbname={name}"


def _new_name() -> str:
    return f"t{next(_numbers)}x{time.monotonic_ns() % 10**9}"
