"""Trips of yellow and green taxis and for-hire vehicles: plausible ones, and the dirt that real files have.

Every draw of a generator is part of the files' bytes: after a change of their order, raise `source.EDITION`.
"""

from __future__ import annotations

import calendar
import csv
import hashlib
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taxiway.emulators.tlc_sample import layouts
from taxiway.emulators.tlc_sample.source import ZONES, later, parse_month

# Arrays of a value per trip by column; `missing` holds masks of nulls by column.
Columns = dict[str, Any]
Random = np.random.Generator
EWR, JFK, LGA = 1, 132, 138
HOURS = np.array(
    [34, 25, 18, 13, 10, 10, 21, 37, 46, 46, 45, 47, 50, 50, 53, 53, 50, 57, 65, 62, 57, 56, 54, 45.0]
)
WEEK = np.array([0.92, 0.98, 1.02, 1.06, 1.08, 1.05, 0.89])  # Thursday to Saturday are the busiest
BOROUGHS = {"Manhattan": 1.0, "Queens": 0.03, "Brooklyn": 0.025, "Bronx": 0.004, "Staten Island": 0.0003}
STRAYS_PER_ROW = 10 / 20_000
NEW_FARES = date(2023, 1, 1)  # the fare rise of 2022-12-19, from the first whole month
PANDEMIC = date(2020, 3, 1)  # since then, trips sent in by other means lack half of their columns
VENDORS = {1: "CMT", 2: "VTS", 6: "DDS"}
PAYMENTS = {
    2009: {1: "Credit", 2: "CASH", 3: "No Charge", 4: "Dispute"},
    2010: {1: "CRE", 2: "CAS", 3: "NOC", 4: "DIS"},
}
BASES = np.array([f"B{number:05}" for number in range(9, 3300, 11)], dtype=object)
# Licence, base, share, end: Juno and Via have gone.
SERVICES = (
    ("HV0003", "B03404", 72, date.max),
    ("HV0005", "B03406", 25, date.max),
    ("HV0004", "B02800", 2, date(2021, 11, 1)),
    ("HV0002", "B02914", 1, date(2019, 11, 1)),
)
CBD_ZONES = 4  # one zone in so many lies in the congestion relief zone
PART_ROWS = 1 << 20  # a row group of the real files


def write_yellow(path: Path, month: date, rows: int) -> None:
    """Write the month's file to `path`."""
    columns = _taxis("yellow", month, rows)
    if month < layouts.ZONES_FROM:
        _rewrite_early(columns, month)
    layouts.write(path, columns, layouts.yellow(month), month)


def write_green(path: Path, month: date, rows: int) -> None:
    """Write the month's file to `path`: like yellow, with columns of its own."""
    columns = _taxis("green", month, rows)
    for end in ("pickup", "dropoff"):
        columns[f"lpep_{end}_datetime"] = columns[f"tpep_{end}_datetime"]
    # No fee is collected at airports.
    columns["total_amount"] = np.round(columns["total_amount"] - columns["airport_fee"], 2)
    columns["trip_type"] = np.where(_seeded(f"green types {month:%Y-%m}").random(rows) < 0.97, 1, 2)
    columns["missing"]["trip_type"] = columns["missing"].get("RatecodeID")
    layouts.write(path, columns, layouts.green(month), month)


def write_fhv(path: Path, month: date, rows: int) -> None:
    """Write the month's file to `path`: little more than when, and often not where."""
    random = _seeded(f"fhv {month:%Y-%m}")
    columns = _when_and_where(random, month, rows)
    _stray(columns, random, month, rows)
    columns["pickup_datetime"] = columns["tpep_pickup_datetime"]
    columns["dropOff_datetime"] = columns["tpep_dropoff_datetime"]
    columns["PUlocationID"], columns["DOlocationID"] = columns["PULocationID"], columns["DOLocationID"]
    columns["SR_Flag"] = np.ones(rows)
    base = BASES[(random.beta(0.6, 3.0, rows) * len(BASES)).astype(int)]
    affiliated = BASES[random.integers(0, len(BASES), rows)]
    columns["dispatching_base_num"] = base
    columns["Affiliated_base_number"] = np.where(random.random(rows) < 0.8, base, affiliated)
    gaps = {"PUlocationID": 0.6, "DOlocationID": 0.2, "SR_Flag": 0.9, "Affiliated_base_number": 0.02}
    columns["missing"] = {name: random.random(rows) < share for name, share in gaps.items()}
    layouts.write(path, columns, layouts.fhv(), month)


def write_fhvhv(path: Path, month: date, rows: int, part_rows: int = PART_ROWS) -> None:
    """Write the month's file to `path`, part by part: a month of real size does not fit into memory."""
    types = layouts.fhvhv(month)
    schema, compression = pa.schema(list(types.items())), layouts.compression(month)
    with pq.ParquetWriter(path, schema, compression=compression) as writer:
        for part, start in enumerate(range(0, rows, part_rows)):
            columns = _high_volume(month, min(part_rows, rows - start), part)
            writer.write_table(layouts.table(columns, types))


def _seeded(name: str) -> Random:
    """A generator that is the same for the same name, on every machine."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def _when_and_where(random: Random, month: date, rows: int) -> Columns:
    """Times, places and distances."""
    days = calendar.monthrange(month.year, month.month)[1]
    weights = np.tile(HOURS, days) * np.repeat(WEEK[(month.weekday() + np.arange(days)) % 7], 24)
    hour = random.choice(weights.size, size=rows, p=weights / weights.sum())
    second = np.sort(hour * 3600 + random.integers(0, 3600, rows))
    zones, share = _zones()
    start, end = random.choice(zones, rows, p=share), random.choice(zones, rows, p=share)
    airport = np.isin(start, (EWR, JFK, LGA)) | np.isin(end, (EWR, JFK, LGA))
    distance = random.lognormal(0.55, 0.7, rows) + airport * random.normal(9.5, 2.5, rows).clip(4)
    distance[random.random(rows) < 0.008] = 0.0
    speed = random.lognormal(2.35, 0.32, rows) * np.where(airport, 1.9, 1.0)  # miles an hour
    seconds = (distance / speed * 3600 + random.integers(20, 240, rows)).astype(np.int64)
    pickup = np.datetime64(month, "s") + second
    return {
        "missing": {},
        "trip_distance": np.round(distance, 2),
        "tpep_pickup_datetime": pickup.astype("datetime64[us]"),
        "tpep_dropoff_datetime": (pickup + seconds).astype("datetime64[us]"),
        "PULocationID": start,
        "DOLocationID": end,
    }


def _zones() -> tuple[Any, Any]:
    """All zones and each one's share of the trips, the same for every month."""
    with ZONES.open(newline="") as file:
        zones = list(csv.DictReader(file))
    weights = np.random.default_rng(265).lognormal(0, 0.9, len(zones)) * [
        # The north of Manhattan is where green taxis may pick up.
        0.1
        if (zone["Borough"], zone["service_zone"]) == ("Manhattan", "Boro Zone")
        else BOROUGHS.get(zone["Borough"], 0.05)
        for zone in zones
    ]
    numbers = np.array([int(zone["LocationID"]) for zone in zones])
    weights[np.isin(numbers, (JFK, LGA))] = weights.sum() * 0.03
    return numbers, weights / weights.sum()


def _stray(columns: Columns, random: Random, month: date, rows: int) -> None:
    """Move some rows out of their month, most by a day or two, one of them by years."""
    pickups, dropoffs = columns["tpep_pickup_datetime"], columns["tpep_dropoff_datetime"]
    count = max(2, round(rows * STRAYS_PER_ROW)) if rows >= 100 else 0
    first, last = np.datetime64(month, "us"), np.datetime64(later(month, 1), "us")
    for place, row in enumerate(random.choice(rows, count, replace=False)):
        ride = dropoffs[row] - pickups[row]
        shift = np.timedelta64(int(random.integers(1, 2 * 86_400)), "s")
        pickups[row] = first - shift if place % 2 else last + shift
        if place == 0:
            pickups[row] = np.datetime64("2008-12-31T23:00:00", "us") + shift
        dropoffs[row] = pickups[row] + ride


# Taxis


def _taxis(dataset: str, month: date, rows: int) -> Columns:
    random = _seeded(f"{dataset} {month:%Y-%m}")
    columns = _when_and_where(random, month, rows)
    columns["VendorID"] = random.choice([1, 2, 6], rows, p=[0.33, 0.66, 0.01])
    columns["passenger_count"] = random.choice(
        [0, 1, 2, 3, 4, 5, 6], rows, p=[0.02, 0.72, 0.15, 0.04, 0.02, 0.03, 0.02]
    )
    columns["store_and_fwd_flag"] = np.where(random.random(rows) < 0.007, "Y", "N").astype(object)
    columns["payment_type"] = random.choice([1, 2, 3, 4], rows, p=[0.73, 0.26, 0.006, 0.004])
    _charge(columns, random, month, rows)
    # Some disputed or uncharged trips are voided by negative rows.
    refunded = random.random(rows) < 0.004
    columns["payment_type"] = np.where(refunded, random.choice([3, 4], rows), columns["payment_type"])
    columns["tip_amount"] = np.where(refunded, 0.0, columns["tip_amount"])
    for name in (
        "fare_amount", "extra", "mta_tax", "improvement_surcharge",
        "congestion_surcharge", "airport_fee", "cbd_congestion_fee", "total_amount",
    ):  # fmt: skip
        columns[name] = np.where(refunded, 0.0 - columns[name], columns[name])
    # A few trips end before they begin.
    wrong = random.random(rows) < 0.0002
    start, end = columns["tpep_pickup_datetime"], columns["tpep_dropoff_datetime"]
    columns["tpep_dropoff_datetime"] = np.where(wrong, start - (end - start), end)
    _stray(columns, random, month, rows)
    _leave_gaps(columns, random, month, rows)
    return columns


def _charge(columns: Columns, random: Random, month: date, rows: int) -> None:
    distance, start, end = columns["trip_distance"], columns["PULocationID"], columns["DOLocationID"]
    new = month >= NEW_FARES
    jfk = ((start == JFK) | (end == JFK)) & (random.random(rows) < 0.7)
    newark = (start == EWR) | (end == EWR)
    columns["RatecodeID"] = np.select([random.random(rows) < 0.004, jfk, newark], [5, 2, 3], 1)
    columns["RatecodeID"][random.random(rows) < 0.0003] = 99
    minutes = (columns["tpep_dropoff_datetime"] - columns["tpep_pickup_datetime"]).astype(np.int64) / 60e6
    step = 0.7 if new else 0.5
    metered = 2.5 + 0.5 * new + step * np.round(distance * 5 * 0.8 + minutes * 0.35)
    fare = columns["fare_amount"] = np.round(np.where(jfk, 70.0 if new else 52.0, metered), 2)
    fare[random.random(rows) < 0.0001] *= 60
    hour = columns["tpep_pickup_datetime"].astype("datetime64[h]").astype(np.int64) % 24
    extra = np.select([(hour >= 16) & (hour < 20), (hour >= 20) | (hour < 6)], [1.0, 0.5], 0.0)
    tolled = jfk | (random.random(rows) < 0.03)
    congested = random.random(rows) < 0.9
    busy = (start % 2 == 0) & (hour >= 5) & (hour < 21)
    charges: Columns = {
        "fare_amount": fare,
        "extra": extra * (1 + 1.5 * new),
        "mta_tax": np.where(newark, 0.0, 0.5),
        "tolls_amount": np.where(tolled, 6.94 if new else 5.76, 0.0),
        "improvement_surcharge": np.full(rows, 1.0 if new else 0.3),
        "congestion_surcharge": np.where(congested, 2.5, 0.0) * (month >= date(2019, 2, 1)),
        "airport_fee": np.where(np.isin(start, (JFK, LGA)), 1.75 if new else 1.25, 0.0)
        * (month >= date(2022, 4, 1)),
        "cbd_congestion_fee": np.where(busy, 0.75, 0.0) * (month >= layouts.CBD_FROM),
    }
    columns |= charges
    before_tip: Any = sum(charges.values())
    rate = random.choice([0.0, 0.15, 0.2, 0.25, 0.3], rows, p=[0.06, 0.12, 0.55, 0.17, 0.1])
    columns["tip_amount"] = np.round(np.where(columns["payment_type"] == 1, before_tip * rate, 0.0), 2)
    columns["total_amount"] = np.round(before_tip + columns["tip_amount"], 2)


def _leave_gaps(columns: Columns, random: Random, month: date, rows: int) -> None:
    """Leave out what real files leave out."""
    missing = columns["missing"]
    if month == date(2019, 1, 1):
        missing["congestion_surcharge"] = random.random(rows) < 0.63
    if month < PANDEMIC:
        return
    gap = random.random(rows) < 0.05
    missing |= dict.fromkeys(("passenger_count", "RatecodeID", "congestion_surcharge", "airport_fee"), gap)
    if month < date(2021, 1, 1):
        missing["VendorID"] = missing["payment_type"] = gap
        columns["store_and_fwd_flag"][gap] = ""
    else:
        missing["store_and_fwd_flag"] = gap
        columns["payment_type"][gap] = 0


def _rewrite_early(columns: Columns, month: date) -> None:
    """Add the columns of 2009 or 2010: texts for codes and times, coordinates for zones."""
    vendor, payment = (
        np.array([words[code] for code in columns[name].tolist()], dtype=object)
        for name, words in (("VendorID", VENDORS), ("payment_type", PAYMENTS[month.year]))
    )
    pickup, dropoff = (
        np.char.replace(np.datetime_as_string(columns[f"tpep_{end}_datetime"], "s"), "T", " ").astype(object)
        for end in ("pickup", "dropoff")
    )
    (x0, y0), (x1, y1) = (_coordinates(columns[name]) for name in ("PULocationID", "DOLocationID"))
    # There was no improvement surcharge yet.
    parts = ("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount")
    total = np.round(sum(columns[name] for name in parts), 2)
    kept = columns["store_and_fwd_flag"] == "Y"
    if month.year == 2009:
        columns |= {
            "vendor_name": vendor, "Trip_Pickup_DateTime": pickup, "Trip_Dropoff_DateTime": dropoff,
            "Passenger_Count": columns["passenger_count"], "Trip_Distance": columns["trip_distance"],
            "Start_Lon": x0, "Start_Lat": y0, "End_Lon": x1, "End_Lat": y1,
            "Rate_Code": columns["RatecodeID"], "store_and_forward": kept.astype(float),
            "Payment_Type": payment, "Fare_Amt": columns["fare_amount"], "surcharge": columns["extra"],
            "Tip_Amt": columns["tip_amount"], "Tolls_Amt": columns["tolls_amount"], "Total_Amt": total,
        }  # fmt: skip
        columns["missing"] |= {"Rate_Code": ~kept, "store_and_forward": ~kept & (vendor == "VTS")}
        return
    columns |= {
        "vendor_id": vendor, "pickup_datetime": pickup, "dropoff_datetime": dropoff, "pickup_longitude": x0,
        "pickup_latitude": y0, "dropoff_longitude": x1, "dropoff_latitude": y1,
        "rate_code": columns["RatecodeID"], "payment_type": payment, "surcharge": columns["extra"],
        "total_amount": total, layouts.INDEX: np.arange(len(total)),
        "store_and_fwd_flag": np.where(kept, "1", "0").astype(object),
    }  # fmt: skip


def _coordinates(zones: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of a place that stands for the zone; 0 and 0 for an unknown one."""
    known = zones < 264
    longitude = np.round(-74.02 + zones % 17 * 0.015, 6)
    latitude = np.round(40.60 + zones // 17 * 0.015, 6)
    return longitude * known, latitude * known


# High-volume services


def _high_volume(month: date, rows: int, part: int) -> Columns:
    random = _seeded(f"fhvhv {month:%Y-%m} {part}")
    columns = _when_and_where(random, month, rows)
    _stray(columns, random, month, rows)
    licences, bases, shares, _ = zip(*(entry for entry in SERVICES if month < entry[3]), strict=True)
    chosen = random.choice(len(shares), rows, p=np.array(shares) / sum(shares))
    base = _words(bases, chosen)
    columns |= {
        "hvfhs_license_num": _words(licences, chosen),
        "dispatching_base_num": base,
        "originating_base_num": base,
        "missing": {"originating_base_num": chosen > 0, "on_scene_datetime": chosen > 0},
    }
    pickup, dropoff = columns["tpep_pickup_datetime"], columns["tpep_dropoff_datetime"]
    miles, seconds = columns["trip_distance"], (dropoff - pickup).astype("timedelta64[s]").astype(np.int64)
    start, end = columns["PULocationID"], columns["DOLocationID"]
    airport = np.isin(start, (EWR, JFK, LGA)) | np.isin(end, (EWR, JFK, LGA))
    fare = np.round(4 + miles * 1.9 + seconds * 0.009, 2)
    columns |= {
        "request_datetime": pickup - random.integers(60, 900, rows).astype("timedelta64[s]"),
        "on_scene_datetime": pickup - random.integers(0, 60, rows).astype("timedelta64[s]"),
        "pickup_datetime": pickup,
        "dropoff_datetime": dropoff,
        "trip_time": seconds,
        "trip_miles": miles,
        "base_passenger_fare": fare,
        "tolls": np.where(random.random(rows) < 0.06, 6.94, 0.0),
        "bcf": np.round(fare * 0.0275, 2),
        "sales_tax": np.round(fare * 0.08875, 2),
        "congestion_surcharge": np.where(random.random(rows) < 0.35, 2.75, 0.0),
        "airport_fee": np.where(airport, 2.5, 0.0) * (month >= date(2021, 4, 1)),
        "tips": np.where(random.random(rows) < 0.18, np.round(fare * 0.15, 2), 0.0),
        "driver_pay": np.round(fare * 0.78, 2),
        "cbd_congestion_fee": np.where(start % CBD_ZONES == 0, 1.5, 0.0),
    }
    asked = random.random(rows)
    return columns | {
        "shared_request_flag": _words("NY", asked < 0.04),
        "shared_match_flag": _words("NY", asked < 0.01),
        "access_a_ride_flag": _words(" N", random.random(rows) < 0.28),
        "wav_request_flag": _words("NY", random.random(rows) < 0.002),
        "wav_match_flag": _words("NY", random.random(rows) < 0.08),
    }


def _words(words: Any, codes: np.ndarray) -> pa.Array:
    """A text per code, without an object for each."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array(list(words)))


if __name__ == "__main__":
    _name, _path, _month, _count = sys.argv[1:]
    globals()[f"write_{_name}"](Path(_path), parse_month(_month), int(_count))
