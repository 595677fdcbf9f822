"""ADBC: Arrow batches into PostgreSQL with its own driver."""

import os
import sys

import adbc_driver_postgresql.dbapi
import pyarrow.parquet as pq
from timing import timed

with timed(), adbc_driver_postgresql.dbapi.connect(os.environ["PEER_DSN"]) as connection:
    file = pq.ParquetFile(sys.argv[1])
    batches = file.iter_batches(131_072)
    reader = __import__("pyarrow").RecordBatchReader.from_batches(file.schema_arrow, batches)
    with connection.cursor() as cursor:
        cursor.adbc_ingest("peer_adbc", reader, mode="create")
    connection.commit()
