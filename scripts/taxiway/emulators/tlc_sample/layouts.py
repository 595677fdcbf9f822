"""TLC's files over the years: columns, order, the types that flip between files, compression."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Types = dict[str, pa.DataType]
YELLOW = (
    "VendorID", "tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance",
    "RatecodeID", "store_and_fwd_flag", "PULocationID", "DOLocationID", "payment_type", "fare_amount",
    "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge", "total_amount",
    "congestion_surcharge", "airport_fee",
)  # fmt: skip
# Types that alternate: the first one, the other one, and the months from which they change, as found in the
# real files' footers, 2011 to 2024. A column without any value was written as null.
FLIPS = {
    "congestion_surcharge": (
        pa.float64(), pa.null(),
        "2011-02 2011-03 2011-04 2012-12 2013-01 2013-05 2013-06 2014-01 2014-02 2018-01 2018-02 2018-06 "
        "2018-07 2018-09 2018-10 2018-11 2018-12 2019-01",
    ),
    "airport_fee": (pa.float64(), pa.null(), "2011-02 2018-01 2018-02 2020-08 2020-10 2020-11"),
    "improvement_surcharge": (pa.float64(), pa.null(), "2014-08 2014-09"),
    "passenger_count": (pa.int64(), pa.float64(), "2018-07 2023-02"),
    "RatecodeID": (pa.int64(), pa.float64(), "2018-07 2023-02"),
}  # fmt: skip
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
EARLY_TEXTS = {
    "vendor_name", "Trip_Pickup_DateTime", "Trip_Dropoff_DateTime", "Payment_Type", "vendor_id",
    "pickup_datetime", "dropoff_datetime", "rate_code", "store_and_fwd_flag", "payment_type",
}  # fmt: skip
GREEN = (
    "VendorID", "lpep_pickup_datetime", "lpep_dropoff_datetime", "store_and_fwd_flag", "RatecodeID",
    "PULocationID", "DOLocationID", "passenger_count", "trip_distance", "fare_amount", "extra", "mta_tax",
    "tip_amount", "tolls_amount", "ehail_fee", "improvement_surcharge", "total_amount", "payment_type",
    "trip_type", "congestion_surcharge",
)  # fmt: skip
GROUP_ROWS = 1 << 17
INDEX = "__index_level_0__"  # left over from pandas in two months
INDEXED = (date(2010, 2, 1), date(2010, 3, 1))
ZONES_FROM = date(2011, 1, 1)
RENAMED_FROM = date(2023, 2, 1)  # from then on yellow's last column is spelt Airport_fee
CBD_FROM = date(2025, 1, 1)  # Manhattan's congestion relief zone


def yellow(month: date) -> Types:
    """The month's columns in their order, by the names of before 2023-02, with their types."""
    if month < ZONES_FROM:
        types = dict.fromkeys(YELLOW_2009 if month.year == 2009 else YELLOW_2010, pa.float64())
        types |= {name: pa.string() for name in types if name in EARLY_TEXTS}
        types |= {name: pa.int64() for name in types if name.lower() == "passenger_count"}
        return types | ({"rate_code": pa.int64(), INDEX: pa.int64()} if month in INDEXED else {})
    types = dict.fromkeys(YELLOW, pa.float64()) | _ids(month) | {"payment_type": pa.int64()}
    types |= dict.fromkeys(("tpep_pickup_datetime", "tpep_dropoff_datetime"), pa.timestamp("us"))
    types["store_and_fwd_flag"] = pa.string()
    for name, (*alternate, months) in FLIPS.items():
        types[name] = alternate[sum(since <= f"{month:%Y-%m}" for since in months.split()) % 2]
    return types | _cbd(month)


def green(month: date) -> Types:
    """The month's columns in their order, with their types."""
    types = dict.fromkeys(GREEN, pa.float64()) | _ids(month)
    types |= dict.fromkeys(("lpep_pickup_datetime", "lpep_dropoff_datetime"), pa.timestamp("us"))
    types |= {"store_and_fwd_flag": pa.string(), "ehail_fee": pa.null()}
    if month >= RENAMED_FROM:
        types |= dict.fromkeys(("RatecodeID", "passenger_count", "payment_type", "trip_type"), pa.int64())
    if month < date(2019, 1, 1):
        types["congestion_surcharge"] = pa.null()
    return types | _cbd(month)


def fhv() -> Types:
    """The columns in their order, with their types and TLC's own mixture of cases."""
    times = dict.fromkeys(("pickup_datetime", "dropOff_datetime"), pa.timestamp("us"))
    numbers = dict.fromkeys(("PUlocationID", "DOlocationID", "SR_Flag"), pa.float64())
    return {"dispatching_base_num": pa.string(), **times, **numbers, "Affiliated_base_number": pa.string()}


def fhvhv(month: date) -> Types:
    """The month's columns in their order, with their types."""
    texts = ("hvfhs_license_num", "dispatching_base_num", "originating_base_num")
    times = ("request_datetime", "on_scene_datetime", "pickup_datetime", "dropoff_datetime")
    zones = {name: kind for name, kind in _ids(month).items() if name != "VendorID"}
    money = (
        "base_passenger_fare", "tolls", "bcf", "sales_tax", "congestion_surcharge", "airport_fee", "tips",
        "driver_pay",
    )  # fmt: skip
    flags = (
        "shared_request_flag", "shared_match_flag", "access_a_ride_flag", "wav_request_flag",
        "wav_match_flag",
    )  # fmt: skip
    types = dict.fromkeys(texts, pa.string()) | dict.fromkeys(times, pa.timestamp("us")) | zones
    types |= {"trip_miles": pa.float64(), "trip_time": pa.int64()} | dict.fromkeys(money, pa.float64())
    return types | dict.fromkeys(flags, pa.string()) | _cbd(month)


def _ids(month: date) -> Types:
    kind = pa.int64() if month < RENAMED_FROM else pa.int32()
    return dict.fromkeys(("VendorID", "PULocationID", "DOLocationID"), kind)


def _cbd(month: date) -> Types:
    return {"cbd_congestion_fee": pa.float64()} if month >= CBD_FROM else {}


def table(columns: Mapping[str, Any], types: Types) -> pa.Table:
    """The columns that `types` names, in its order and types, with nulls where `missing` says."""
    arrays = []
    for name, kind in types.items():
        values, missing = columns.get(name), columns["missing"].get(name)
        if pa.types.is_null(kind):
            arrays.append(pa.nulls(len(columns["trip_distance"])))
        elif isinstance(values, pa.Array):
            arrays.append((values if missing is None else pc.if_else(missing, None, values)).cast(kind))
        else:
            arrays.append(pa.array(values, mask=missing).cast(kind))
    return pa.Table.from_arrays(arrays, names=list(types))


def write(path: Path, columns: Mapping[str, Any], types: Types, month: date) -> None:
    """Write a month to `path` as TLC wrote in that year."""
    content = table(columns, types)
    if "tpep_pickup_datetime" in types and month >= RENAMED_FROM:
        content = content.rename_columns({"airport_fee": "Airport_fee"})
    pq.write_table(content, path, compression=compression(month), row_group_size=GROUP_ROWS, version="2.6")


def compression(month: date) -> str:
    """The codec of the month's real file."""
    if month.year < 2020:
        return "gzip"
    return "snappy" if month.year < 2023 else "zstd"
