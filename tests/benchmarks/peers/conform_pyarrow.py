"""pyarrow: the whole table in memory, typed, written."""

import sys

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from timing import timed

SMALL = ["VendorID", "passenger_count", "RatecodeID", "PULocationID", "DOLocationID", "payment_type"]

with timed():
    raw, out = sys.argv[1:]
    table = pq.read_table(raw) if raw.endswith(".parquet") else pa.csv.read_csv(raw)
    fields = [f.with_type(pa.int16()) if f.name in SMALL else f for f in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), out)
