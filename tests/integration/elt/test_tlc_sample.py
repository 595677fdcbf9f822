"""Real rows of TLC: not one is lost, whatever the year wrote them like."""

import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import taxi
from repository import TLC

from elt import status as report
from elt.catalogue.registry import DATASETS
from elt.conforming.stream import Split
from elt.periods import Month
from elt.stages import STAGES

MONTHS = ("2019-01", "2019-02", "2020-04", "2020-12")
YELLOW = DATASETS["yellow"]

pytestmark = pytest.mark.emulators


def real(month: str) -> pa.Table:
    return pq.read_table(TLC / f"trip-data/yellow_tripdata_{month}.parquet")


def moved(table: pa.Table, of: str, to: str) -> pa.Table:
    """The same trips as if they had been made in another month."""
    days = (Month.parse(to).first_day() - Month.parse(of).first_day()).days
    for name in ("tpep_pickup_datetime", "tpep_dropoff_datetime"):
        later = pc.add(table[name], pa.scalar(days * 86_400_000_000, pa.duration("us")))
        table = taxi.with_column(table, name, later)
    return table


def as_of_2018(table: pa.Table) -> pa.Table:
    """February 2018: two columns without a type, counts as whole numbers."""
    for name in ("congestion_surcharge", "airport_fee"):
        table = taxi.with_column(table, name, pa.nulls(len(table)))
    for name in ("passenger_count", "RatecodeID"):
        table = taxi.with_column(table, name, table[name].cast(pa.int64()))
    return table


def as_of_2023(table: pa.Table) -> pa.Table:
    """March 2023: narrower ids, counts as whole numbers, one column spelt otherwise."""
    for name in ("VendorID", "PULocationID", "DOLocationID"):
        table = taxi.with_column(table, name, table[name].cast(pa.int32()))
    for name in ("passenger_count", "RatecodeID"):
        table = taxi.with_column(table, name, table[name].cast(pa.int64()))
    table = taxi.with_column(table, "airport_fee", pa.array([1.25] * len(table)))
    return table.rename_columns(
        ["Airport_fee" if name == "airport_fee" else name for name in table.schema.names]
    )


def test_ten_thousand_rows_a_month_arrive_in_every_store(stack, dsn, faulty_source):
    stack = stack.with_postgres(dsn)
    made = {
        "2018-02": as_of_2018(moved(real("2019-02"), "2019-02", "2018-02")),
        "2023-03": as_of_2023(moved(real("2020-12"), "2020-12", "2023-03")),
    }
    files = {month: (TLC / f"trip-data/yellow_tripdata_{month}.parquet").read_bytes() for month in MONTHS}
    files |= {month: taxi.parquet(table) for month, table in made.items()}
    for month, content in files.items():
        faulty_source.serve(taxi.YELLOW.format(month), content)
        for stage in STAGES:
            stack.run(stage, "yellow", month)
    found = report.status(stack.connections)
    assert [entry["period"] for entry in found] == sorted(files)
    for entry in found:
        assert entry["state"] == "loaded"
        assert entry["typed_rows"] + entry["quarantined_rows"] == 10_000
        assert entry["typed_rows"] == entry["warehouse_rows"] == entry["postgres_rows"]
        assert entry["quarantined_rows"] < 10, "a few rows of other months, and nothing else"
        assert entry["drift"] == []


SHAPES = {
    "2018-02": lambda: as_of_2018(moved(real("2019-02"), "2019-02", "2018-02")),
    "2023-03": lambda: as_of_2023(moved(real("2020-12"), "2020-12", "2023-03")),
}


@pytest.mark.parametrize("month", [*MONTHS, *SHAPES])
def test_every_value_arrives_as_it_was(month):
    table = SHAPES[month]() if month in SHAPES else real(month)
    check(table, taxi.parquet(table), YELLOW, month)


@pytest.mark.parametrize("month", MONTHS)
def test_the_same_trips_as_csv_are_the_same_rows(month):
    table, content = real(month), io.BytesIO()
    pyarrow.csv.write_csv(table, content)
    as_csv = replace(YELLOW, path="/trip-data/yellow_tripdata_{year}-{month}.csv")
    check(table, content.getvalue(), as_csv, month)


def check(table: pa.Table, content: bytes, ds, month: str) -> None:
    parts = Split(io.BytesIO(content), ds, Month.parse(month))
    typed = pa.Table.from_batches([part.typed for part in parts])
    assert parts.rows + parts.quarantined == len(table)
    key, first = table["tpep_pickup_datetime"], Month.parse(month)
    bounds = [
        pa.scalar(str(day)).cast(pa.timestamp("us")) for day in (first.first_day(), first.next().first_day())
    ]
    inside = pc.and_(pc.greater_equal(key, bounds[0]), pc.less(key, bounds[1]))
    kept = table.filter(inside)
    assert parts.rows == len(kept)
    for name in table.schema.names:
        column = next(column for column in YELLOW.columns if name.lower() in column.known_names)
        given = [value if value != "" else None for value in kept[name].to_pylist()]
        assert typed[column.name].to_pylist() == given, name
