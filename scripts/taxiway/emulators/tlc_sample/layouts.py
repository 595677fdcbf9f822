"""TLC's files over the years: columns, order, the types that flip between files, compression."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxiway.emulators.tlc_sample.datasets import Month

YELLOW = (
    "VendorID", "tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance",
    "RatecodeID", "store_and_fwd_flag", "PULocationID", "DOLocationID", "payment_type", "fare_amount",
    "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge", "total_amount",
    "congestion_surcharge", "airport_fee",
)  # fmt: skip
IDS = ("VendorID", "PULocationID", "DOLocationID", "payment_type")
TIMES = ("tpep_pickup_datetime", "tpep_dropoff_datetime")
AIRPORT, CONGESTION, IMPROVEMENT = "airport_fee", "congestion_surcharge", "improvement_surcharge"
COUNTS = ("passenger_count", "RatecodeID")

# (first month, columns, type from then on), as found in the real files' footers, 2011 to 2024.
YELLOW_CHANGES: tuple[tuple[str, tuple[str, ...], pa.DataType], ...] = (
    ("2011-02", (AIRPORT, CONGESTION), pa.null()),
    ("2011-03", (CONGESTION,), pa.float64()),
    ("2011-04", (CONGESTION,), pa.null()),
    ("2012-12", (CONGESTION,), pa.float64()),
    ("2013-01", (CONGESTION,), pa.null()),
    ("2013-05", (CONGESTION,), pa.float64()),
    ("2013-06", (CONGESTION,), pa.null()),
    ("2014-01", (CONGESTION,), pa.float64()),
    ("2014-02", (CONGESTION,), pa.null()),
    ("2014-08", (IMPROVEMENT,), pa.null()),
    ("2014-09", (IMPROVEMENT,), pa.float64()),
    ("2018-01", (AIRPORT, CONGESTION), pa.float64()),
    ("2018-02", (AIRPORT, CONGESTION), pa.null()),
    ("2018-06", (CONGESTION,), pa.float64()),
    ("2018-07", (CONGESTION,), pa.null()),
    ("2018-07", COUNTS, pa.float64()),
    ("2018-09", (CONGESTION,), pa.float64()),
    ("2018-10", (CONGESTION,), pa.null()),
    ("2018-11", (CONGESTION,), pa.float64()),
    ("2018-12", (CONGESTION,), pa.null()),
    ("2019-01", (CONGESTION,), pa.float64()),
    ("2020-08", (AIRPORT,), pa.float64()),
    ("2020-10", (AIRPORT,), pa.null()),
    ("2020-11", (AIRPORT,), pa.float64()),
    ("2023-02", ("VendorID", "PULocationID", "DOLocationID"), pa.int32()),
    ("2023-02", COUNTS, pa.int64()),
)
YELLOW_2009 = (
    "vendor_name", "Trip_Pickup_DateTime", "Trip_Dropoff_DateTime", "Passenger_Count", "Trip_Distance",
    "Start_Lon", "Start_Lat", "Rate_Code", "store_and_forward", "End_Lon", "End_Lat", "Payment_Type",
    "Fare_Amt", "surcharge", "mta_tax", "Tip_Amt", "Tolls_Amt", "Total_Amt",
)  # fmt: skip
YELLOW_2010 = (
    "vendor_id", "pickup_datetime", "dropoff_datetime", "passenger_count", "trip_distance",
    "pickup_longitude", "pickup_latitude", "rate_code", "store_and_fwd_flag", "dropoff_longitude",
    "dropoff_latitude", "payment_type", "fare_amount", "surcharge", "mta_tax", "tip_amount", "tolls_amount",
    "total_amount",
)  # fmt: skip
EARLY_TEXTS = (
    "vendor_name", "Trip_Pickup_DateTime", "Trip_Dropoff_DateTime", "Payment_Type", "vendor_id",
    "pickup_datetime", "dropoff_datetime", "rate_code", "store_and_fwd_flag", "payment_type",
)  # fmt: skip
GROUP_ROWS = 1 << 17
INDEX = "__index_level_0__"  # left over from pandas in two months
INDEXED = (Month(2010, 2), Month(2010, 3))
GREEN = (
    "VendorID", "lpep_pickup_datetime", "lpep_dropoff_datetime", "store_and_fwd_flag", "RatecodeID",
    "PULocationID", "DOLocationID", "passenger_count", "trip_distance", "fare_amount", "extra", "mta_tax",
    "tip_amount", "tolls_amount", "ehail_fee", "improvement_surcharge", "total_amount", "payment_type",
    "trip_type", "congestion_surcharge",
)  # fmt: skip
ZONES_FROM = Month(2011, 1)
RENAMED_FROM = Month(2023, 2)  # from then on the last column is spelt Airport_fee
CBD_FROM = Month(2025, 1)  # Manhattan's congestion relief zone


def yellow(month: Month) -> dict[str, pa.DataType]:
    """The month's columns in their order, by the names of before 2023-02, with their types."""
    if month < ZONES_FROM:
        return _early_yellow(month)
    types = dict.fromkeys(YELLOW, pa.float64())
    types |= dict.fromkeys(IDS + COUNTS, pa.int64()) | dict.fromkeys(TIMES, pa.timestamp("us"))
    types["store_and_fwd_flag"] = pa.string()
    for since, columns, kind in YELLOW_CHANGES:
        if Month.parse(since) <= month:
            types |= dict.fromkeys(columns, kind)
    if month >= CBD_FROM:
        types["cbd_congestion_fee"] = pa.float64()
    return types


def _early_yellow(month: Month) -> dict[str, pa.DataType]:
    types = dict.fromkeys(YELLOW_2009 if month.year == 2009 else YELLOW_2010, pa.float64())
    types |= {name: pa.string() for name in EARLY_TEXTS if name in types}
    types |= {name: pa.int64() for name in ("Passenger_Count", "passenger_count") if name in types}
    if month in INDEXED:
        types |= {"rate_code": pa.int64(), INDEX: pa.int64()}
    return types


def yellow_name(column: str, month: Month) -> str:
    """How the month's file spells `column`."""
    return "Airport_fee" if column == AIRPORT and month >= RENAMED_FROM else column


def green(month: Month) -> dict[str, pa.DataType]:
    """The month's columns in their order, with their types."""
    types = dict.fromkeys(GREEN, pa.float64())
    ids = pa.int64() if month < RENAMED_FROM else pa.int32()
    types |= dict.fromkeys(("VendorID", "PULocationID", "DOLocationID"), ids)
    types |= dict.fromkeys(("lpep_pickup_datetime", "lpep_dropoff_datetime"), pa.timestamp("us"))
    types |= {"store_and_fwd_flag": pa.string(), "ehail_fee": pa.null()}
    if month >= RENAMED_FROM:
        types |= dict.fromkeys(("RatecodeID", "passenger_count", "payment_type", "trip_type"), pa.int64())
    if month < Month(2019, 1):
        types["congestion_surcharge"] = pa.null()
    if month >= CBD_FROM:
        types["cbd_congestion_fee"] = pa.float64()
    return types


def fhv() -> dict[str, pa.DataType]:
    """The columns in their order, with their types and TLC's own mixture of cases."""
    times = dict.fromkeys(("pickup_datetime", "dropOff_datetime"), pa.timestamp("us"))
    numbers = dict.fromkeys(("PUlocationID", "DOlocationID", "SR_Flag"), pa.float64())
    return {"dispatching_base_num": pa.string(), **times, **numbers, "Affiliated_base_number": pa.string()}


def fhvhv(month: Month) -> dict[str, pa.DataType]:
    """The month's columns in their order, with their types."""
    texts = ("hvfhs_license_num", "dispatching_base_num", "originating_base_num")
    times = ("request_datetime", "on_scene_datetime", "pickup_datetime", "dropoff_datetime")
    money = (
        "base_passenger_fare", "tolls", "bcf", "sales_tax", "congestion_surcharge", "airport_fee", "tips",
        "driver_pay",
    )  # fmt: skip
    flags = (
        "shared_request_flag", "shared_match_flag", "access_a_ride_flag", "wav_request_flag",
        "wav_match_flag",
    )  # fmt: skip
    zone = pa.int64() if month < RENAMED_FROM else pa.int32()
    cbd = {"cbd_congestion_fee": pa.float64()} if month >= CBD_FROM else {}
    return {
        **dict.fromkeys(texts, pa.string()),
        **dict.fromkeys(times, pa.timestamp("us")),
        **dict.fromkeys(("PULocationID", "DOLocationID"), zone),
        "trip_miles": pa.float64(),
        "trip_time": pa.int64(),
        **dict.fromkeys(money, pa.float64()),
        **dict.fromkeys(flags, pa.string()),
        **cbd,
    }


def table(columns: dict[str, Any], types: Mapping[str, pa.DataType]) -> pa.Table:
    """The columns that `types` names, in its order and types; the month's spelling is in `spelt`."""
    names = columns.get("spelt", {})
    arrays = [_array(columns, name, kind) for name, kind in types.items()]
    return pa.Table.from_arrays(arrays, names=[names.get(name, name) for name in types])


def _array(columns: dict[str, Any], name: str, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(columns["trip_distance"]))
    missing, values = columns["missing"].get(name), columns[name]
    if isinstance(values, pa.Array):
        return (values if missing is None else pc.if_else(missing, None, values)).cast(kind)
    return pa.array(values, mask=missing).cast(kind)


def write_parquet(path: Path, content: pa.Table, month: Month) -> None:
    """Write it as TLC wrote in that year."""
    pq.write_table(content, path, compression=compression(month), row_group_size=GROUP_ROWS, version="2.6")


def compression(month: Month) -> str:
    """The codec of the month's real file."""
    if month.year < 2020:
        return "gzip"
    return "snappy" if month.year < 2023 else "zstd"
