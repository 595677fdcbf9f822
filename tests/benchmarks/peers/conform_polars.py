"""polars: lazily scanned where it can be, typed, written."""

import sys

import polars as pl
from timing import timed

TIMES = ["tpep_pickup_datetime", "tpep_dropoff_datetime"]
SMALL = ["VendorID", "passenger_count", "RatecodeID", "PULocationID", "DOLocationID", "payment_type"]

with timed():
    raw, out = sys.argv[1:]
    if raw.endswith(".parquet"):
        frame = pl.scan_parquet(raw)
    else:
        frame = pl.scan_csv(
            raw, schema_overrides=dict.fromkeys(TIMES, pl.Datetime("us")), infer_schema_length=100_000
        )
    frame.with_columns(pl.col(SMALL).cast(pl.Int16)).sink_parquet(out)
