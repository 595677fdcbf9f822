"""dlt: Arrow tables as a resource, PostgreSQL as the destination."""

import os
import sys

import dlt
import pyarrow.parquet as pq
from timing import local, timed

with timed():
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.postgres(os.environ["PEER_DSN"]),
        dataset_name="dlt",
        pipelines_dir=os.environ["DLT_DATA_DIR"],
    )
    trips = dlt.resource(
        (pa_batch for pa_batch in pq.ParquetFile(local(sys.argv[1])).iter_batches(131_072)),
        name="peer_dlt",
        write_disposition="replace",
    )
    pipeline.run(trips, loader_file_format="parquet")
