"""Every cadence from every kind of source: loaded, backfilled, republished, killed half-way, and exact."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import faulty_source as http
import paged_api
import psycopg
import pyarrow.parquet as pq
import pytest
import requests
from emulators import Emulators
from faulty_source import FaultySource
from kills import AfterStep
from paged_api import PagedApi

import stacks
from elt import bulk, status
from elt.catalogue import Api, Audit, Column, Cursor, Database, Dataset, Publisher
from elt.catalogue.registry import DATASETS, MARTS
from elt.layout import typed_object
from elt.periods import Day, Hour, Month, Partition, Period, Year, levels
from elt.sources.changes import scan
from stacks import Stack
from taxiway.embedded.postgres import PostgresServer

pytestmark = pytest.mark.emulators
STAGES = ("download", "conform", "stage", "audit", "publish", "postgres")
# Steps after which stages are killed. The download: a file is there without its checksum, the first of two is
# there, the first of two pages has come, the upload of rows has begun. Typed rows are there, not in the log.
HALF = {
    "download": {"http": 4, "bucket": 8, "api": 4, "database": 25},
    "conform": {"http": 4, "bucket": 7, "api": 4, "database": 4},
}
# The staging table is being filled; audits have answered, which nobody knows; the transaction is over, its
# staging table not dropped; the period's old rows are deleted, new ones to come.
KILLED = {"stage": 5, "audit": 2, "publish": 2, "postgres": 13}
# The next two are of another month or year, or of a leap day.
FIRST: list[Period] = [Hour(2024, 2, 29, 22), Day(2024, 2, 28), Month(2023, 11), Year(2022)]
COLUMNS = (
    Column("at", "timestamp", "When."),
    Column("id", "int64", "Number."),
    Column("fare", "numeric", "Money."),
    Column("note", "string", "Text.", required=False),
)


class Row(NamedTuple):
    """A row as it is published; without a note it has none."""

    at: dt.datetime
    id: int
    fare: str
    note: str | None


def edition(period: Period, number: int) -> list[Row]:
    """A period's rows: at its first and its last moment; another edition lacks one and has two others."""
    middle = period.start + (period.end - period.start) / 2
    last = period.end - dt.timedelta(microseconds=1)
    rows = [
        Row(period.start, 1, "0.10", "plain"),
        Row(middle, 2, "12345678901234567890.25", 'a "b",\nc\u00e9'),
        Row(last, 3, "-3", None),
        Row(middle, 4, "0.000000001", "n/a"),
    ]
    if number == 1:
        return rows
    return [rows[0], rows[2]._replace(fare="-3.000000001"), *(Row(middle, n, "7", "late") for n in (20, 21))]


@dataclass(frozen=True)
class Published:
    """One dataset at its source."""

    ds: Dataset
    publish: Callable[[Period, Sequence[Row]], None]


@dataclass(frozen=True)
class Sources:
    """All that datasets come from, in the stack that loads them."""

    stack: Stack
    dsn: str
    http: FaultySource
    api: PagedApi
    storage_url: str


@pytest.fixture(scope="module")
def sources(emulators: Emulators, postgres_server: PostgresServer) -> Iterator[Sources]:
    """A stack whose catalogue is empty, and its sources."""
    dsn = stacks.new_database(postgres_server)
    with (
        http.running() as files,
        paged_api.running() as api,
        # Which puts all entries back in their order: other tests rely on it.
        patch.dict(DATASETS, clear=True),
        patch.dict(MARTS, clear=True),
    ):
        stack = stacks.new_stack(emulators, files.url).with_postgres(dsn)
        shop = stacks.connection(stacks.new_database(postgres_server))
        yield Sources(stack.changed(AIRFLOW_CONN_SHOP=shop), dsn, files, api, emulators.storage_url)


def entry(name: str, first: Period, **how: Any) -> Dataset:
    return Dataset(
        name, "Rides", table=name, key="at", columns=COLUMNS, first=first, audits=(Audit("row_count"),), **how
    )


def parts(first: Period, between: str) -> str:
    return between.join(f"{{{level}}}" for level in levels(first.grain))


def over_http(sources: Sources, name: str, first: Period) -> Published:
    """A file of CSV for each period."""
    ds = entry(
        name,
        first,
        path=f"/{name}_{parts(first, '-')}.csv",
        source=Publisher("taxi_source", sources.http.url),
    )

    def publish(period: Period, rows: Sequence[Row]) -> None:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(Row._fields)
        writer.writerows(row._replace(at=f"{row.at.isoformat()}Z") for row in rows)
        sources.http.serve(f"/{ds.file_name(period)}", text.getvalue().encode())

    return Published(ds, publish)


def in_bucket(sources: Sources, name: str, first: Period) -> Published:
    """Two files of JSON lines in a folder for each period."""
    bucket = f"of-{name.replace('_', '-')}"
    url = f"{sources.storage_url}/storage/v1/b"
    assert requests.post(url, params={"project": "p"}, json={"name": bucket}, timeout=30).ok

    def publish(period: Period, rows: Sequence[Row]) -> None:
        folder = ds.url(period).removeprefix(f"gs://{bucket}/").partition("part-")[0]
        for number, part in enumerate((rows[:2], rows[2:])):
            query = {"uploadType": "media", "name": f"{folder}part-{number}.jsonl"}
            upload = f"{sources.storage_url}/upload/storage/v1/b/{bucket}/o"
            body = "".join(f"{as_json(row)}\n" for row in part).encode()
            assert requests.post(upload, params=query, data=body, timeout=30).ok

    ds = entry(name, first, path=f"gs://{bucket}/{parts(first, '/')}/part-*.jsonl")
    return Published(ds, publish)


def from_api(sources: Sources, name: str, first: Period) -> Published:
    """Pages of two records."""
    params = {"from": "{start}", "to": "{end}", "of": name}
    api = Api("rides_api", sources.api.url, "data.items", params, Cursor("meta.next", "at"))

    def publish(period: Period, rows: Sequence[Row]) -> None:
        sources.api.periods[f"{period.start.isoformat()}Z"] = [as_json(row) for row in rows]

    return Published(entry(name, first, path="/cursors", source=api, reread=2), publish)


def from_database(sources: Sources, name: str, first: Period) -> Published:
    """Rows of a table."""
    found = json.loads(sources.stack.variables["AIRFLOW_CONN_SHOP"])
    shop = {"dbname": found["schema"], "user": found["login"], "password": found["password"]}

    def execute(statement: str, *rows: Sequence[Any]) -> None:
        with psycopg.connect(host=found["host"], port=found["port"], **shop) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            connection.cursor().executemany(statement, rows or [[]])

    def publish(period: Period, rows: Sequence[Row]) -> None:
        execute(f"DELETE FROM {name} WHERE at >= %s AND at < %s", [period.start, period.end])
        execute(f"INSERT INTO {name} VALUES (%s, %s, %s, %s)", *rows)

    execute(f"CREATE TABLE {name} (at timestamptz, id int, fare numeric, note text)")
    return Published(entry(name, first, source=Database("shop", name, cursor="at"), reread=2), publish)


def as_json(row: Row) -> str:
    """With the digits of the row."""
    fare = '"NaN"' if row.fare == "NaN" else row.fare
    return (
        f'{{"at": "{row.at.isoformat()}Z", "id": {row.id}, "fare": {fare}, "note": {json.dumps(row.note)}}}'
    )


KINDS = {"http": over_http, "bucket": in_bucket, "api": from_api, "database": from_database}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", FIRST, ids=lambda first: first.grain)
def test_it_is_loaded_backfilled_republished_killed_and_finished(
    sources: Sources, first: Period, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"rides_{first.grain}_{kind}"
    published = KINDS[kind](sources, name, first)
    ds, stack = published.ds, sources.stack
    monkeypatch.setitem(DATASETS, name, ds)
    periods = [first, first.shift(1), first.shift(2)]
    expected = {period: edition(period, 1) for period in periods}
    lost = Row(first.start, 99, "NaN", "lost")
    for period, rows in expected.items():
        published.publish(period, [*rows, lost] if period == first else rows)

    # The latest first, then those before it.
    for period in reversed(periods):
        for stage in STAGES:
            stack.run(stage, ds, str(period), "loaded")
    check(sources, ds, expected)
    assert changes(stack, ds) == (tuple(periods[1:]) if ds.reread else ())

    before, expected = expected, {**expected, periods[1]: edition(periods[1], 2)}
    published.publish(periods[1], expected[periods[1]])
    assert changes(stack, ds) == (tuple(periods[1:]) if ds.reread else (periods[1],))
    for stage in STAGES:
        act = partial(stack.run, stage, ds, str(periods[1]), "republished")
        kill = AfterStep(HALF[stage][kind] if stage in HALF else KILLED[stage])
        kill(act)
        assert not kill.missed, f"{stage} was over before"
        # Where a stage replaces rows, readers see all old ones or all new ones.
        if read := {"publish": in_warehouse, "postgres": in_postgres}.get(stage):
            assert read(sources, ds) in (as_stored(before), as_stored(expected)), kill
        act()
    check(sources, ds, expected)
    assert changes(stack, ds) == (tuple(periods[1:]) if ds.reread else ())


def changes(stack: Stack, ds: Dataset) -> tuple[Period | None, ...]:
    """What the source check would load."""
    with stack.connections.source(ds) as source, stack.lake() as lake:
        found = scan(ds, source, lake)
    assert found.failed == {}
    return found.to_load


def check(sources: Sources, ds: Dataset, expected: Mapping[Period, list[Row]]) -> None:
    """That every store has exactly these rows, and the quarantine of the first period one."""
    wanted = as_stored(expected)
    assert in_lake(sources, ds, expected) == wanted
    assert in_warehouse(sources, ds) == wanted
    assert in_postgres(sources, ds) == wanted
    found = status.status(sources.stack.connections, [Partition(ds.name, period) for period in expected])
    counts = [(row["typed_rows"], row["quarantined_rows"], row["state"]) for row in found]
    assert counts == [(len(rows), period == ds.first, "loaded") for period, rows in expected.items()]


def as_stored(rows: Mapping[Period, list[Row]]) -> list[tuple[Any, ...]]:
    """Rows with their periods, in order."""
    return sorted(
        (period.start, row.id, row.at, Decimal(row.fare), row.note) for period in rows for row in rows[period]
    )


def in_lake(sources: Sources, ds: Dataset, periods: Iterable[Period]) -> list[tuple[Any, ...]]:
    found = []
    with sources.stack.lake() as lake:
        for period in periods:
            stored = lake.find(typed_object(ds, period))
            assert stored
            with lake.fetch(stored) as file:
                found += [{ds.period_column: period.start, **row} for row in pq.read_table(file).to_pylist()]
    return plain(ds, found)


def in_warehouse(sources: Sources, ds: Dataset) -> list[tuple[Any, ...]]:
    return plain(ds, sources.stack.select("SELECT * FROM TABLE", ds.table))


def in_postgres(sources: Sources, ds: Dataset) -> list[tuple[Any, ...]]:
    with stacks.database(sources.dsn) as connection:
        cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
        return plain(ds, cursor.execute(f"SELECT * FROM {ds.table}").fetchall())


def plain(ds: Dataset, rows: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows of any store, their dates and moments alike."""

    def same(value: Any) -> Any:
        if isinstance(value, dt.datetime):
            return value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
        return dt.datetime.combine(value, dt.time()) if isinstance(value, dt.date) else value

    return sorted(
        tuple(same(row[name]) for name in (ds.period_column, "id", "at", "fare", "note")) for row in rows
    )


@pytest.mark.parametrize("first", FIRST, ids=lambda period: str(period.grain))
def test_periods_that_are_loaded_together_are_exact_in_every_store(sources: Sources, first: Period) -> None:
    """Three of an HTTP source, one of which is late; the others are loaded, and again nothing is done."""
    one = over_http(sources, f"together_{first.grain}", first)
    periods = [first.shift(number) for number in range(3)]
    with patch.dict(DATASETS, {one.ds.name: one.ds}):
        for period in (periods[0], periods[2]):
            one.publish(period, edition(period, 1))
        requests = [sources.stack.request(one.ds, str(period), "together") for period in periods]
        for run_again in (False, True):
            for step in ("lake", "warehouse", "postgres"):
                done = bulk.run(step, requests, sources.stack.connections)
                assert done["done"] == [str(periods[0]), str(periods[2])]
                assert set(done["failed"]) == ({str(periods[1])} if step == "lake" else set()), run_again
        wanted = [Partition(one.ds.name, period) for period in periods]
        states = {row["period"]: row for row in status.status(sources.stack.connections, wanted)}
    for period in periods:
        row = states[str(period)]
        count = 0 if period == periods[1] else len(edition(period, 1))
        assert row["state"] == ("loaded" if count else "missing")
        assert (row["warehouse_rows"], row["postgres_rows"]) == (count, count)
