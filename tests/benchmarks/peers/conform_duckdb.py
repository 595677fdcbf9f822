"""DuckDB: one COPY statement."""

import sys

import duckdb
from timing import timed

SMALL = ["VendorID", "passenger_count", "RatecodeID", "PULocationID", "DOLocationID", "payment_type"]

with timed():
    raw, out = sys.argv[1:]
    reader = "read_parquet" if raw.endswith(".parquet") else "read_csv"
    casts = ", ".join(f"{name}::SMALLINT AS {name}" for name in SMALL)
    duckdb.sql(f"COPY (SELECT * REPLACE ({casts}) FROM {reader}('{raw}')) TO '{out}' (FORMAT parquet)")
