"""Yellow taxi trips: plausible ones, and the dirt that real files have. The same month is the same bytes."""

from pathlib import Path

import numpy as np

from taxiway.emulators.tlc_sample import early_yellow, layouts
from taxiway.emulators.tlc_sample.months import Month
from taxiway.emulators.tlc_sample.parquet import table, write_parquet
from taxiway.emulators.tlc_sample.rides import EWR, JFK, LGA, Columns, seeded, strays, when_and_where

NEW_FARES = Month(2023, 1)  # the fare rise of 2022-12-19, from the first whole month
PANDEMIC = Month(2020, 3)  # since then, trips sent in by other means lack half of their columns


def write(path: Path, month: Month, rows: int) -> None:
    """Write the month's file to `path`."""
    columns = generate("yellow", month, rows)
    if month < layouts.ZONES_FROM:
        early_yellow.rewrite(columns, month)
    columns["spelt"] = {layouts.AIRPORT: layouts.yellow_name(layouts.AIRPORT, month)}
    write_parquet(path, table(columns, layouts.yellow(month)), month)


def generate(dataset: str, month: Month, rows: int) -> Columns:
    """Return the month's columns as arrays of `rows` values; `missing` holds masks of nulls by column."""
    random = seeded(f"{dataset} {month}")
    columns: Columns = {"missing": {}}
    when_and_where(columns, random, month, rows)
    _who(columns, random, rows)
    _money(columns, random, month, rows)
    _refunds(columns, random, rows)
    _clocks(columns, random, rows)
    strays(columns, random, month, rows)
    _gaps(columns, random, month, rows)
    return columns


def _who(columns: Columns, random: np.random.Generator, rows: int) -> None:
    columns["VendorID"] = random.choice([1, 2, 6], rows, p=[0.33, 0.66, 0.01])
    columns["passenger_count"] = random.choice(
        [0, 1, 2, 3, 4, 5, 6], rows, p=[0.02, 0.72, 0.15, 0.04, 0.02, 0.03, 0.02]
    )
    columns["store_and_fwd_flag"] = np.where(random.random(rows) < 0.007, "Y", "N").astype(object)
    columns["payment_type"] = random.choice([1, 2, 3, 4], rows, p=[0.73, 0.26, 0.006, 0.004])


def _money(columns: Columns, random: np.random.Generator, month: Month, rows: int) -> None:
    distance, start, end = columns["trip_distance"], columns["PULocationID"], columns["DOLocationID"]
    new = month >= NEW_FARES
    jfk = ((start == JFK) | (end == JFK)) & (random.random(rows) < 0.7)
    newark = (start == EWR) | (end == EWR)
    columns["RatecodeID"] = np.select([random.random(rows) < 0.004, jfk, newark], [5, 2, 3], 1)
    columns["RatecodeID"][random.random(rows) < 0.0003] = 99
    minutes = (columns["tpep_dropoff_datetime"] - columns["tpep_pickup_datetime"]).astype(np.int64) / 60e6
    step = 0.7 if new else 0.5
    metered = 2.5 + 0.5 * new + step * np.round(distance * 5 * 0.8 + minutes * 0.35)
    columns["fare_amount"] = np.round(np.where(jfk, 70.0 if new else 52.0, metered), 2)
    columns["fare_amount"][random.random(rows) < 0.0001] *= 60
    hour = columns["tpep_pickup_datetime"].astype("datetime64[h]").astype(np.int64) % 24
    columns["extra"] = np.select([(hour >= 16) & (hour < 20), (hour >= 20) | (hour < 6)], [1.0, 0.5], 0.0) * (
        1 + 1.5 * new
    )
    columns["mta_tax"] = np.where(newark, 0.0, 0.5)
    columns["tolls_amount"] = np.where(jfk | (random.random(rows) < 0.03), 6.94 if new else 5.76, 0.0)
    columns["improvement_surcharge"] = np.full(rows, 1.0 if new else 0.3)
    columns["congestion_surcharge"] = np.where(random.random(rows) < 0.9, 2.5, 0.0) * (
        month >= Month(2019, 2)
    )
    columns["airport_fee"] = np.where(np.isin(start, (JFK, LGA)), 1.75 if new else 1.25, 0.0) * (
        month >= Month(2022, 4)
    )
    busy = (start % 2 == 0) & (hour >= 5) & (hour < 21)
    columns["cbd_congestion_fee"] = np.where(busy, 0.75, 0.0) * (month >= layouts.CBD_FROM)
    _tip_and_total(columns, random, rows)


def _tip_and_total(columns: Columns, random: np.random.Generator, rows: int) -> None:
    parts = (
        "fare_amount",
        "extra",
        "mta_tax",
        "tolls_amount",
        "improvement_surcharge",
        "congestion_surcharge",
        "airport_fee",
        "cbd_congestion_fee",
    )
    before_tip = sum(columns[part] for part in parts)
    rate = random.choice([0.0, 0.15, 0.2, 0.25, 0.3], rows, p=[0.06, 0.12, 0.55, 0.17, 0.1])
    columns["tip_amount"] = np.round(np.where(columns["payment_type"] == 1, before_tip * rate, 0.0), 2)
    columns["total_amount"] = np.round(before_tip + columns["tip_amount"], 2)


def _refunds(columns: Columns, random: np.random.Generator, rows: int) -> None:
    """Turn some disputed or uncharged trips into the negative rows that void them."""
    refunded = random.random(rows) < 0.004
    columns["payment_type"] = np.where(refunded, random.choice([3, 4], rows), columns["payment_type"])
    columns["tip_amount"] = np.where(refunded, 0.0, columns["tip_amount"])
    parts = (
        "fare_amount",
        "extra",
        "mta_tax",
        "improvement_surcharge",
        "congestion_surcharge",
        "airport_fee",
        "cbd_congestion_fee",
        "total_amount",
    )
    for part in parts:
        columns[part] = np.where(refunded, 0.0 - columns[part], columns[part])


def _clocks(columns: Columns, random: np.random.Generator, rows: int) -> None:
    """Let a few trips end before they begin."""
    wrong = random.random(rows) < 0.0002
    start, end = columns["tpep_pickup_datetime"], columns["tpep_dropoff_datetime"]
    columns["tpep_dropoff_datetime"] = np.where(wrong, start - (end - start), end)


def _gaps(columns: Columns, random: np.random.Generator, month: Month, rows: int) -> None:
    """Leave out what real files leave out."""
    missing = columns["missing"]
    if month == Month(2019, 1):
        missing["congestion_surcharge"] = random.random(rows) < 0.63
    if month < PANDEMIC:
        return
    gap = random.random(rows) < 0.05
    for name in ("passenger_count", "RatecodeID", "congestion_surcharge", "airport_fee"):
        missing[name] = gap
    if month < Month(2021, 1):
        missing["VendorID"] = missing["payment_type"] = gap
        columns["store_and_fwd_flag"][gap] = ""
    else:
        missing["store_and_fwd_flag"] = gap
        columns["payment_type"][gap] = 0
