"""Trips of yellow and green taxis: plausible ones, and the dirt that real files have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taxiway.emulators.tlc_sample import layouts
from taxiway.emulators.tlc_sample.datasets import Month
from taxiway.emulators.tlc_sample.rides import EWR, JFK, LGA, Columns, seeded, strays, when_and_where

NEW_FARES = Month(2023, 1)  # the fare rise of 2022-12-19, from the first whole month
PANDEMIC = Month(2020, 3)  # since then, trips sent in by other means lack half of their columns
_VENDORS = {1: "CMT", 2: "VTS", 6: "DDS"}
_PAYMENTS = {
    2009: {1: "Credit", 2: "CASH", 3: "No Charge", 4: "Dispute"},
    2010: {1: "CRE", 2: "CAS", 3: "NOC", 4: "DIS"},
}
_AMOUNTS = ("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount")


def write_yellow(path: Path, month: Month, rows: int) -> None:
    """Write the month's file to `path`."""
    columns = _generate("yellow", month, rows)
    if month < layouts.ZONES_FROM:
        _rewrite_early(columns, month)
    columns["spelt"] = {layouts.AIRPORT: layouts.yellow_name(layouts.AIRPORT, month)}
    layouts.write_parquet(path, layouts.table(columns, layouts.yellow(month)), month)


def write_green(path: Path, month: Month, rows: int) -> None:
    """Write the month's file to `path`: like yellow, with columns of its own."""
    columns = _generate("green", month, rows)
    for end in ("pickup", "dropoff"):
        columns[f"lpep_{end}_datetime"] = columns[f"tpep_{end}_datetime"]
    # No fee is collected at airports.
    columns["total_amount"] = np.round(columns["total_amount"] - columns["airport_fee"], 2)
    columns["trip_type"] = np.where(seeded(f"green types {month}").random(rows) < 0.97, 1, 2)
    columns["missing"]["trip_type"] = columns["missing"].get("RatecodeID")
    layouts.write_parquet(path, layouts.table(columns, layouts.green(month)), month)


def _generate(dataset: str, month: Month, rows: int) -> Columns:
    """The month's columns as arrays of `rows` values; `missing` holds masks of nulls by column."""
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
        "fare_amount", "extra", "mta_tax", "tolls_amount",
        "improvement_surcharge", "congestion_surcharge", "airport_fee", "cbd_congestion_fee",
    )  # fmt: skip
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
        "fare_amount", "extra", "mta_tax", "improvement_surcharge",
        "congestion_surcharge", "airport_fee", "cbd_congestion_fee", "total_amount",
    )  # fmt: skip
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


def _rewrite_early(columns: Columns, month: Month) -> None:
    """Add the columns of 2009 or 2010: texts for codes and times, coordinates for zones."""
    vendor, payment = (_texts(columns[name], words) for name, words in _codes(month))
    pickup, dropoff = (
        np.datetime_as_string(columns[f"tpep_{end}_datetime"], "s").astype(object)
        for end in ("pickup", "dropoff")
    )
    times = [np.char.replace(moments.astype(str), "T", " ").astype(object) for moments in (pickup, dropoff)]
    start, end = (_coordinates(columns[name]) for name in ("PULocationID", "DOLocationID"))
    # There was no improvement surcharge yet.
    total = np.round(sum(columns[name] for name in _AMOUNTS), 2)
    kept = columns["store_and_fwd_flag"] == "Y"
    if month.year == 2009:
        columns |= {
            "vendor_name": vendor, "Trip_Pickup_DateTime": times[0], "Trip_Dropoff_DateTime": times[1],
            "Passenger_Count": columns["passenger_count"], "Trip_Distance": columns["trip_distance"],
            "Start_Lon": start[0], "Start_Lat": start[1], "End_Lon": end[0], "End_Lat": end[1],
            "Rate_Code": columns["RatecodeID"], "store_and_forward": kept.astype(float),
            "Payment_Type": payment, "Fare_Amt": columns["fare_amount"], "surcharge": columns["extra"],
            "Tip_Amt": columns["tip_amount"], "Tolls_Amt": columns["tolls_amount"], "Total_Amt": total,
        }  # fmt: skip
        columns["missing"] |= {"Rate_Code": ~kept, "store_and_forward": ~kept & (vendor == "VTS")}
        return
    columns |= {
        "vendor_id": vendor, "pickup_datetime": times[0], "dropoff_datetime": times[1],
        "pickup_longitude": start[0], "pickup_latitude": start[1], "dropoff_longitude": end[0],
        "dropoff_latitude": end[1], "rate_code": columns["RatecodeID"], "payment_type": payment,
        "surcharge": columns["extra"], "total_amount": total, "__index_level_0__": np.arange(len(total)),
        "store_and_fwd_flag": np.where(kept, "1", "0").astype(object),
    }  # fmt: skip


def _codes(month: Month) -> tuple[tuple[str, dict[int, str]], ...]:
    return (("VendorID", _VENDORS), ("payment_type", _PAYMENTS[month.year]))


def _texts(codes: np.ndarray, words: dict[int, str]) -> np.ndarray:
    return np.array([words[code] for code in codes.tolist()], dtype=object)


def _coordinates(zones: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of a place that stands for the zone; 0 and 0 for an unknown one."""
    known = zones < 264
    longitude = np.round(-74.02 + zones % 17 * 0.015, 6)
    latitude = np.round(40.60 + zones // 17 * 0.015, 6)
    return longitude * known, latitude * known
