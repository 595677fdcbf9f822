"""Trips of for-hire vehicles, and of high-volume services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taxiway.emulators.tlc_sample import layouts
from taxiway.emulators.tlc_sample.datasets import Month
from taxiway.emulators.tlc_sample.rides import EWR, JFK, LGA, Columns, seeded, strays, when_and_where

BASES = np.array([f"B{number:05}" for number in range(9, 3300, 11)], dtype=object)
PART_ROWS = 1 << 20  # a row group of the real files
# Licence, base, share; Juno and Via have gone.
SERVICES = (
    ("HV0003", "B03404", 72),
    ("HV0005", "B03406", 25),
    ("HV0004", "B02800", 2),
    ("HV0002", "B02914", 1),
)
LAST = {"HV0004": Month(2021, 11), "HV0002": Month(2019, 11)}
CBD_ZONES = 4  # one zone in so many lies in the congestion relief zone


def write_fhv(path: Path, month: Month, rows: int) -> None:
    """Write the month's file to `path`: little more than when, and often not where."""
    layouts.write_parquet(path, layouts.table(_fhv(month, rows), layouts.fhv()), month)


def _fhv(month: Month, rows: int) -> Columns:
    """The month's columns as arrays of `rows` values; `missing` holds masks of nulls by column."""
    random = seeded(f"fhv {month}")
    columns: Columns = {"missing": {}}
    when_and_where(columns, random, month, rows)
    strays(columns, random, month, rows)
    columns["pickup_datetime"] = columns["tpep_pickup_datetime"]
    columns["dropOff_datetime"] = columns["tpep_dropoff_datetime"]
    columns["PUlocationID"], columns["DOlocationID"] = columns["PULocationID"], columns["DOLocationID"]
    columns["SR_Flag"] = np.ones(rows)
    columns["dispatching_base_num"] = BASES[(random.beta(0.6, 3.0, rows) * len(BASES)).astype(int)]
    affiliated = BASES[random.integers(0, len(BASES), rows)]
    columns["Affiliated_base_number"] = np.where(
        random.random(rows) < 0.8, columns["dispatching_base_num"], affiliated
    )
    columns["missing"] = {
        "PUlocationID": random.random(rows) < 0.6,
        "DOlocationID": random.random(rows) < 0.2,
        "SR_Flag": random.random(rows) < 0.9,
        "Affiliated_base_number": random.random(rows) < 0.02,
    }
    return columns


def write_fhvhv(path: Path, month: Month, rows: int, part_rows: int = PART_ROWS) -> None:
    """Write the month's file to `path`, part by part: a month of real size does not fit into memory."""
    types = layouts.fhvhv(month)
    with pq.ParquetWriter(
        path, pa.schema(list(types.items())), compression=layouts.compression(month)
    ) as writer:
        for part in _parts(month, rows, part_rows):
            writer.write_table(part)


def _parts(month: Month, rows: int, part_rows: int) -> Iterator[pa.Table]:
    """The month's rows, a row group at a time."""
    for number, start in enumerate(range(0, rows, part_rows)):
        columns = _fhvhv(month, min(part_rows, rows - start), number)
        yield layouts.table(columns, layouts.fhvhv(month))


def _fhvhv(month: Month, rows: int, part: int = 0) -> Columns:
    """A part's columns as arrays of `rows` values; `missing` holds masks of nulls by column."""
    random = seeded(f"fhvhv {month} {part}")
    columns: Columns = {"missing": {}}
    when_and_where(columns, random, month, rows)
    strays(columns, random, month, rows)
    _services(columns, random, month, rows)
    _times(columns, random, rows)
    _money(columns, random, month, rows)
    _flags(columns, random, rows)
    return columns


def _services(columns: Columns, random: np.random.Generator, month: Month, rows: int) -> None:
    offered = [service for service in SERVICES if month < LAST.get(service[0], month.plus(1))]
    shares = np.array([share for *_, share in offered])
    chosen = random.choice(len(offered), rows, p=shares / shares.sum())
    columns["hvfhs_license_num"] = _words([licence for licence, *_ in offered], chosen)
    columns["dispatching_base_num"] = columns["originating_base_num"] = _words(
        [base for _, base, _ in offered], chosen
    )
    columns["missing"]["originating_base_num"] = columns["missing"]["on_scene_datetime"] = chosen > 0


def _words(words: list[str], codes: np.ndarray) -> pa.Array:
    """A text per code, without an object for each."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(words))


def _times(columns: Columns, random: np.random.Generator, rows: int) -> None:
    pickup, dropoff = columns["tpep_pickup_datetime"], columns["tpep_dropoff_datetime"]
    waited = random.integers(60, 900, rows).astype("timedelta64[s]")
    columns["request_datetime"] = pickup - waited
    columns["on_scene_datetime"] = pickup - random.integers(0, 60, rows).astype("timedelta64[s]")
    columns["pickup_datetime"], columns["dropoff_datetime"] = pickup, dropoff
    columns["trip_time"] = (dropoff - pickup).astype("timedelta64[s]").astype(np.int64)
    columns["trip_miles"] = columns["trip_distance"]


def _money(columns: Columns, random: np.random.Generator, month: Month, rows: int) -> None:
    start, end = columns["PULocationID"], columns["DOLocationID"]
    fare = np.round(4 + columns["trip_miles"] * 1.9 + columns["trip_time"] * 0.009, 2)
    airport = np.isin(start, (EWR, JFK, LGA)) | np.isin(end, (EWR, JFK, LGA))
    columns["base_passenger_fare"] = fare
    columns["tolls"] = np.where(random.random(rows) < 0.06, 6.94, 0.0)
    columns["bcf"] = np.round(fare * 0.0275, 2)
    columns["sales_tax"] = np.round(fare * 0.08875, 2)
    columns["congestion_surcharge"] = np.where(random.random(rows) < 0.35, 2.75, 0.0)
    columns["airport_fee"] = np.where(airport, 2.5, 0.0) * (month >= Month(2021, 4))
    columns["tips"] = np.where(random.random(rows) < 0.18, np.round(fare * 0.15, 2), 0.0)
    columns["driver_pay"] = np.round(fare * 0.78, 2)
    columns["cbd_congestion_fee"] = np.where(start % CBD_ZONES == 0, 1.5, 0.0)


def _flags(columns: Columns, random: np.random.Generator, rows: int) -> None:
    asked = random.random(rows)
    columns["shared_request_flag"] = _words(["N", "Y"], (asked < 0.04).astype(np.int8))
    columns["shared_match_flag"] = _words(["N", "Y"], (asked < 0.01).astype(np.int8))
    columns["access_a_ride_flag"] = _words([" ", "N"], (random.random(rows) < 0.28).astype(np.int8))
    columns["wav_request_flag"] = _words(["N", "Y"], (random.random(rows) < 0.002).astype(np.int8))
    columns["wav_match_flag"] = _words(["N", "Y"], (random.random(rows) < 0.08).astype(np.int8))
