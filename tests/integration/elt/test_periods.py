"""Datasets by hours, days, months and years: one way through every store, whatever the period."""

import datetime as dt
from dataclasses import replace

import pytest
from faulty_source import FaultySource

import stacks
from elt import status
from elt.catalogue import STANDARD_AUDITS, Column, Dataset, Day, Hour, Month, Publisher, Year
from elt.catalogue.registry import DATASETS
from elt.errors import PermanentError
from elt.layout import partition_table
from elt.periods import Partition, Period
from elt.sources.changes import scan
from elt.stores import period_column
from elt.stores.describing import SAMPLE
from stacks import Stack

STAGES = ("download", "conform", "stage", "audit", "publish", "postgres")
FIRST: list[Period] = [Hour(2024, 2, 28, 23), Day(2024, 2, 28), Month(2024, 2), Year(2024)]
TEMPLATES = {"hour": "{year}/{month}/{day}/{hour}", "day": "{year}{month}{day}", "month": "{year}-{month}"}


def rides(first: Period) -> Dataset:
    path = f"/rides_{TEMPLATES.get(first.grain, '{year}').replace('/', '_')}.csv"
    columns = (Column("id", "int64", "Number."), Column("at", "timestamp", "When."))
    return Dataset(
        "rides", "Rides", path, "rides", "at", columns, first=first, audits=STANDARD_AUDITS,
        source=Publisher("taxi_source", "https://example.com"),
    )  # fmt: skip


def content(period: Period, rows: int, since: int = 0) -> bytes:
    """Rows at the period's first and last moments, and one before and one after it."""
    last = period.end - dt.timedelta(microseconds=1)
    moments = [period.start if n % 2 else last for n in range(rows)]
    outside = [period.start - dt.timedelta(microseconds=1), period.end]
    lines = [f"{since + n},{moment.isoformat()}Z" for n, moment in enumerate([*moments, *outside])]
    return "\n".join(["id,at", *lines, ""]).encode()


@pytest.fixture(params=FIRST, ids=lambda first: first.grain)
def ds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    entry = rides(request.param)
    monkeypatch.setitem(DATASETS, "rides", entry)
    return entry


@pytest.fixture
def whole(stack: Stack, dsn: str) -> Stack:
    """With a database, too."""
    return stack.with_postgres(dsn)


def test_periods_are_loaded_replaced_and_counted_one_by_one(
    whole: Stack, dsn: str, faulty_source: FaultySource, ds: Dataset
) -> None:
    assert ds.first and ds.every
    periods = [ds.first, ds.first.shift(1), ds.first.shift(2)]

    def publish(period: Period, rows: int, since: int = 0) -> None:
        faulty_source.serve(f"/{ds.file_name(period)}", content(period, rows, since))

    def load(period: Period, run_id: str = "run") -> list[dict[str, object]]:
        return [whole.run(stage, ds, str(period), run_id) for stage in STAGES]

    def rows() -> list[tuple[dict[Period | None, int], str]]:
        found = status.status(whole.connections)
        assert {row["warehouse_rows"] == row["typed_rows"] == row["postgres_rows"] for row in found} == {True}
        return [(row["period"], row["typed_rows"], row["quarantined_rows"], row["state"]) for row in found]

    for number, period in enumerate(periods):
        publish(period, 400 + number)
        load(period)
    first, second, third = map(str, periods)
    expected = [(first, 400, 2, "loaded"), (second, 401, 2, "loaded"), (third, 402, 2, "loaded")]
    assert rows() == expected
    # A second run finds everything done.
    assert all(done["reused"] for done in load(periods[0], "again"))

    publish(periods[1], 7, since=1000)
    load(periods[1], "republished")
    assert rows() == [expected[0], (second, 7, 2, "loaded"), expected[2]]
    column = period_column(ds.every)
    with stacks.database(dsn) as connection:
        query = f"SELECT {column.name}::text, min(id), count(*) FROM rides GROUP BY 1 ORDER BY 1"
        found = connection.execute(query).fetchall()
        partition = partition_table(ds, periods[0])
        described = "SELECT obj_description('rides'::regclass), obj_description(to_regclass(%s))"
        ((whole_says, part_says),) = connection.execute(described, [partition]).fetchall()
    line = f"\nLoaded from: {SAMPLE}"
    assert whole_says.endswith(line)
    assert line in part_says
    with whole.connections.warehouse() as warehouse:
        assert warehouse.table("rides")["description"] == whole_says
    wanted = [(0, 400), (1000, 7), (0, 402)]
    starts = [period.start.isoformat(" ")[: 19 if ds.every == "hour" else 10] for period in periods]
    assert found == [(start, *each) for start, each in zip(starts, wanted, strict=True)]
    query = f"SELECT CAST({column.name} AS STRING) AS start, MIN(id) AS least, COUNT(*) AS n FROM TABLE"
    rows_there = whole.select(f"{query} GROUP BY start ORDER BY start", "rides")
    assert [(row["start"], row["least"], row["n"]) for row in rows_there] == found

    # Only one is asked for.
    (only,) = status.status(whole.connections, [Partition("rides", periods[2])])
    assert (only["period"], only["typed_rows"], only["state"]) == (third, 402, "loaded")


def test_a_load_that_breaks_off_leaves_the_old_rows_and_the_next_one_ends_it(
    whole: Stack, dsn: str, faulty_source: FaultySource, ds: Dataset
) -> None:
    assert ds.first
    url = f"/{ds.file_name(ds.first)}"
    for rows in (20, 30):
        faulty_source.serve(url, content(ds.first, rows))
        for stage in ("download", "conform"):
            whole.run(stage, ds, str(ds.first), f"run {rows}")
        if rows == 20:
            whole.run("postgres", ds, str(ds.first))
    with stacks.database(dsn) as connection:
        # Whoever holds a lock on the rows' table keeps the second load waiting; it is broken off.
        connection.execute("ALTER TABLE rides ADD CONSTRAINT few CHECK (id < 25) NOT VALID")
        with pytest.raises(PermanentError, match="few"):
            whole.run("postgres", ds, str(ds.first), "run 30")
        assert connection.execute("SELECT count(*) FROM rides").fetchone() == (20,)
        connection.execute("ALTER TABLE rides DROP CONSTRAINT few")
        assert whole.run("postgres", ds, str(ds.first), "run 31")["rows"] == 30
        assert connection.execute("SELECT count(*) FROM rides").fetchone() == (30,)


def test_days_of_years_need_a_table_a_month(
    whole: Stack, dsn: str, faulty_source: FaultySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = rides(Day(2024, 1, 30))
    monkeypatch.setitem(DATASETS, "rides", ds)
    for n in range(4):
        day = Day(2024, 1, 30).shift(n)
        faulty_source.serve(f"/{ds.file_name(day)}", content(day, 3))
        for stage in ("download", "postgres"):
            whole.run(stage, ds, str(day))
    with stacks.database(dsn) as connection:
        tables = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'rides'::regclass"
        )
        assert sorted(tables.fetchall()) == [("rides_2024_01",), ("rides_2024_02",)]
        # Whoever drops a table drops what is known of its days.
        connection.execute("DROP TABLE rides_2024_02")
        assert whole.run("postgres", ds, "2024-02-01", "again")["reused"] is False
        assert whole.run("postgres", ds, "2024-01-31", "again")["reused"] is True


@pytest.mark.parametrize("first", [Day(2024, 1, 1), Hour(2024, 1, 1, 0)], ids=["day", "hour"])
def test_a_period_in_which_nothing_happened_has_no_rows_and_is_loaded(
    whole: Stack, faulty_source: FaultySource, monkeypatch: pytest.MonkeyPatch, first: Period
) -> None:
    ds = rides(first)
    monkeypatch.setitem(DATASETS, "rides", ds)
    faulty_source.serve(f"/{ds.file_name(first)}", b"id,at\n")
    for stage in STAGES:
        whole.run(stage, ds, str(first))
    (found,) = status.status(whole.connections)
    assert (found["typed_rows"], found["warehouse_rows"], found["state"]) == (0, 0, "loaded")


def test_a_file_of_several_periods_is_each_ones_and_no_row_is_lost(
    whole: Stack, faulty_source: FaultySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [Day(2024, 2, 27), Day(2024, 2, 28), Day(2024, 2, 29)]
    ds = replace(rides(days[0]), path="/rides_{year}-{month}.csv")
    monkeypatch.setitem(DATASETS, "rides", ds)
    lines = [f"{n},{day}T{n:02}:00:00Z" for day in days for n in range(day.start.day - 20)]
    # Whose they are nobody knows: the first day's quarantine has them. A bad number is of the day it is of.
    lost = ["90,", "91,soon", "92,2024-03-01T00:00:00Z", "93,2024-02-26T12:00:00Z", '94,"2024']
    path = f"/{ds.file_name(days[0])}"

    def publish(*more: str) -> None:
        faulty_source.serve(
            path, "\n".join(["id,at", *lines, "x,2024-02-28T23:00:00Z", *more, *lost]).encode()
        )

    def load() -> dict[str, tuple[int, int, str]]:
        for day in days:
            for stage in STAGES:
                whole.run(stage, ds, str(day))
        found = status.status(whole.connections)
        return {row["period"]: (row["typed_rows"], row["quarantined_rows"], row["state"]) for row in found}

    publish()
    assert load() == {
        "2024-02-27": (7, 5, "loaded"), "2024-02-28": (8, 1, "loaded"), "2024-02-29": (9, 0, "loaded"),
    }  # fmt: skip
    assert len([1 for method, _ in faulty_source.requests if method == "GET"]) == 1
    with whole.connections.source(ds) as source, whole.lake() as lake:
        assert scan(ds, source, lake).to_load == ()
        publish("99,2024-02-28T22:00:00Z")
        assert scan(ds, source, lake).to_load == tuple(days)
        assert scan(ds, source, lake, among=[days[1]]).to_load == tuple(days)
    assert load()["2024-02-28"] == (9, 1, "loaded")


def test_a_month_that_is_not_yet_in_the_file_of_its_year_is_named(
    whole: Stack, faulty_source: FaultySource
) -> None:
    ds = replace(rides(Month(2024, 1)), path="/rides_{year}.csv")
    faulty_source.serve("/rides_2024.csv", b"id,at\n1,2024-01-05T00:00:00Z\n")
    for stage in ("download", "conform"):
        whole.run(stage, ds, "2024-01")
    whole.run("download", ds, "2024-02")
    with pytest.raises(PermanentError, match="has no row of 2024-02 \\(1 of other periods\\)"):
        whole.run("conform", ds, "2024-02")
