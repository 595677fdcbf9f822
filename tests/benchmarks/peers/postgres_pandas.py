"""The zoomcamp's way: chunks of 100,000 rows as data frames, each appended with to_sql."""

import os
import sys

import pandas as pd
import pyarrow.parquet as pq
import sqlalchemy
from timing import local, timed

with timed():
    engine = sqlalchemy.create_engine(
        os.environ["PEER_DSN"].replace("postgresql://", "postgresql+psycopg2://")
    )
    for number, batch in enumerate(pq.ParquetFile(local(sys.argv[1])).iter_batches(100_000)):
        frame: pd.DataFrame = batch.to_pandas()
        frame.columns = frame.columns.str.lower()
        if number == 0:
            frame.head(0).to_sql("peer_pandas", engine, if_exists="replace", index=False)
        frame.to_sql("peer_pandas", engine, if_exists="append", index=False)
