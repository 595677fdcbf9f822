"""The zoomcamp's way: fetch the file, put it into the bucket, and have the warehouse load it from there."""

import sys
import time

import pyarrow.parquet as pq
import requests
from timing import fetch

address, there, storage, bucket, bigquery, project, dataset = sys.argv[1:]
fetch(address, there)
upload = {"uploadType": "media", "name": "trips.parquet"}
with open(there, "rb") as file:
    requests.post(
        f"{storage}/upload/storage/v1/b/{bucket}/o", params=upload, data=file, timeout=600
    ).raise_for_status()
# BigQuery would read the schema from the file; the emulator wants to be told.
types = {"i": "INTEGER", "d": "FLOAT", "t": "DATETIME"}
fields = [{"name": f.name, "type": types.get(str(f.type)[0], "STRING")} for f in pq.read_schema(there)]
load = {
    "sourceUris": [f"gs://{bucket}/trips.parquet"],
    "destinationTable": {"projectId": project, "datasetId": dataset, "tableId": "peer_trips"},
    "sourceFormat": "PARQUET",
    "writeDisposition": "WRITE_TRUNCATE",
    "schema": {"fields": fields},
}
jobs = f"{bigquery}/bigquery/v2/projects/{project}/jobs"
job = requests.post(jobs, json={"configuration": {"load": load}}, timeout=600).json()
while job["status"]["state"] != "DONE":
    time.sleep(0.5)
    job = requests.get(f"{jobs}/{job['jobReference']['jobId']}", timeout=600).json()
if "errorResult" in job["status"]:
    sys.exit(job["status"]["errorResult"]["message"].splitlines()[0])
