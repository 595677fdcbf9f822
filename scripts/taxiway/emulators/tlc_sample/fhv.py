"""Trips in for-hire vehicles: little more than when, and often not where."""

from pathlib import Path

import numpy as np

from taxiway.emulators.tlc_sample import layouts
from taxiway.emulators.tlc_sample.months import Month
from taxiway.emulators.tlc_sample.parquet import table, write_parquet
from taxiway.emulators.tlc_sample.rides import Columns, seeded, strays, when_and_where

BASES = np.array([f"B{number:05}" for number in range(9, 3300, 11)], dtype=object)


def write(path: Path, month: Month, rows: int) -> None:
    """Write the month's file to `path`."""
    write_parquet(path, table(generate(month, rows), layouts.fhv()), month)


def generate(month: Month, rows: int) -> Columns:
    """Return the month's columns as arrays of `rows` values; `missing` holds masks of nulls by column."""
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
