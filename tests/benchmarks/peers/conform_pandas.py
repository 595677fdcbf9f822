"""pandas: the whole file as a data frame, typed, written."""

import sys

import pandas as pd
from timing import timed

TIMES = ["tpep_pickup_datetime", "tpep_dropoff_datetime"]
SMALL = ["VendorID", "passenger_count", "RatecodeID", "PULocationID", "DOLocationID", "payment_type"]

with timed():
    raw, out = sys.argv[1:]
    frame = pd.read_parquet(raw) if raw.endswith(".parquet") else pd.read_csv(raw, parse_dates=TIMES)
    frame.astype(dict.fromkeys(SMALL, "Int16")).to_parquet(out, index=False)
