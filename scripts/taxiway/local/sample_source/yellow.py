"""Yellow taxi trips: plausible ones, and the dirt that real files have. The same month is the same bytes."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taxiway.local.sample_source import layouts
from taxiway.local.sample_source.months import Month

Columns = dict[str, Any]
ZONES = Path(__file__).parent / "taxi_zone_lookup.csv"
EWR, JFK, LGA, UNKNOWN, OUTSIDE = 1, 132, 138, 264, 265
HOURS = np.array(
    [34, 25, 18, 13, 10, 10, 21, 37, 46, 46, 45, 47, 50, 50, 53, 53, 50, 57, 65, 62, 57, 56, 54, 45.0]
)
NEW_FARES = Month(2023, 1)  # the fare rise of 2022-12-19, from the first whole month
PANDEMIC = Month(2020, 3)  # since then, trips sent in by other means lack half of their columns
STRAYS_PER_ROW = 10 / 20_000
BOROUGHS = {"Manhattan": 1.0, "Queens": 0.03, "Brooklyn": 0.025, "Bronx": 0.004, "Staten Island": 0.0003}


def write(path: Path, month: Month, rows: int) -> None:
    """Write the month's file to `path`."""
    types = layouts.yellow(month)
    columns = generate(month, rows)
    arrays = [_array(columns, name, kind) for name, kind in types.items()]
    names = [layouts.yellow_name(name, month) for name in types]
    table = pa.Table.from_arrays(arrays, names=names)
    pq.write_table(table, path, compression=layouts.compression(month), row_group_size=1 << 17, version="2.6")


def _array(columns: Columns, name: str, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(columns["VendorID"]))
    missing = columns["missing"].get(name)
    return pa.array(columns[name], mask=missing).cast(kind)


def generate(month: Month, rows: int) -> Columns:
    """Return the month's columns as arrays of `rows` values; `missing` holds masks of nulls by column."""
    seed = hashlib.sha256(f"yellow {month}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(seed[:8], "big"))
    columns: Columns = {"missing": {}}
    _when_and_where(columns, random, month, rows)
    _who(columns, random, rows)
    _money(columns, random, month, rows)
    _refunds(columns, random, rows)
    _clocks(columns, random, rows)
    _strays(columns, random, month, rows)
    _gaps(columns, random, month, rows)
    return columns


def _when_and_where(columns: Columns, random: np.random.Generator, month: Month, rows: int) -> None:
    weights = np.tile(HOURS, month.days()) * np.repeat(_days(month), 24)
    hour = random.choice(weights.size, size=rows, p=weights / weights.sum())
    second = np.sort(hour * 3600 + random.integers(0, 3600, rows))
    zones, share = _zones()
    start, end = random.choice(zones, rows, p=share), random.choice(zones, rows, p=share)
    airport = np.isin(start, (EWR, JFK, LGA)) | np.isin(end, (EWR, JFK, LGA))
    distance = random.lognormal(0.55, 0.7, rows) + airport * random.normal(9.5, 2.5, rows).clip(4)
    distance[random.random(rows) < 0.008] = 0.0
    columns["trip_distance"] = np.round(distance, 2)
    speed = random.lognormal(2.35, 0.32, rows) * np.where(airport, 1.9, 1.0)  # miles an hour
    seconds = (distance / speed * 3600 + random.integers(20, 240, rows)).astype(np.int64)
    pickup = np.datetime64(month.first_moment().replace(tzinfo=None), "s") + second
    columns["tpep_pickup_datetime"] = pickup.astype("datetime64[us]")
    columns["tpep_dropoff_datetime"] = (pickup + seconds).astype("datetime64[us]")
    columns["PULocationID"], columns["DOLocationID"] = start, end


def _days(month: Month) -> Any:
    """Return how busy each day of the month is; Thursday to Saturday most."""
    week = np.array([0.92, 0.98, 1.02, 1.06, 1.08, 1.05, 0.89])
    return week[(month.first_moment().weekday() + np.arange(month.days())) % 7]


def _zones() -> tuple[Any, Any]:
    """Return all zones and each one's share of the trips, the same for every month."""
    random = np.random.default_rng(265)
    with ZONES.open(newline="") as file:
        zones = list(csv.DictReader(file))
    weights = random.lognormal(0, 0.9, len(zones)) * [_weight(zone) for zone in zones]
    numbers = np.array([int(zone["LocationID"]) for zone in zones])
    weights[np.isin(numbers, (JFK, LGA))] = weights.sum() * 0.03
    return numbers, weights / weights.sum()


def _weight(zone: dict[str, str]) -> float:
    if zone["Borough"] == "Manhattan" and zone["service_zone"] == "Boro Zone":
        return 0.1
    return BOROUGHS.get(zone["Borough"], 0.05)


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


def _strays(columns: Columns, random: np.random.Generator, month: Month, rows: int) -> None:
    """Move some rows out of their month, most by a day or two, one of them by years."""
    count = max(2, round(rows * STRAYS_PER_ROW)) if rows >= 100 else 0
    where = random.choice(rows, count, replace=False)
    first = np.datetime64(month.first_moment().replace(tzinfo=None), "us")
    last = np.datetime64(month.plus(1).first_moment().replace(tzinfo=None), "us")
    for place, row in enumerate(where):
        ride = columns["tpep_dropoff_datetime"][row] - columns["tpep_pickup_datetime"][row]
        shift = np.timedelta64(int(random.integers(1, 2 * 86_400)), "s")
        pickup = first - shift if place % 2 else last + shift
        if place == 0:
            pickup = np.datetime64("2008-12-31T23:00:00", "us") + shift
        columns["tpep_pickup_datetime"][row], columns["tpep_dropoff_datetime"][row] = pickup, pickup + ride


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
