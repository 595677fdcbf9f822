"""State that the library drops: attributes of datasets, expiry of tables, results of queries."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from bqemulator.jobs.executor import JOB_RESULTS, JOB_SCHEMAS

from taxiway.emulators.answers import write_atomically
from taxiway.emulators.serving import read_json

RESULTS = 500
RESULT_BYTES = 256 << 20
FILE_BYTES = 16 << 20
DAY = 24 * 3600
# Job ids that are also file names.
FILE_NAME = re.compile(r"[\w-]{1,200}", re.ASCII)


class Kept:
    """Values by key, in a JSON file that is rewritten with each change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = read_json(path)

    def put(self, key: str, value: Any) -> None:
        """Set a value; an empty one removes the key."""
        values = {name: kept for name, kept in (self.values | {key: value}).items() if kept}
        if values != self.values:
            self.values = values
            write_atomically(self._path, json.dumps(values).encode())


class Results:
    """Results of queries, in the library's memory and, for a day, in files.

    BigQuery: it keeps results for a day. Library: it keeps all of them in memory until it is restarted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if time.time() - path.stat().st_mtime > DAY:
                path.unlink()
        self._sizes: dict[str, int] = {}

    def keep(self, job_id: str) -> None:
        """Write the result of a finished job unless it is large, and evict old ones from memory."""
        table = JOB_RESULTS.get(job_id)
        if table is not None and table.nbytes <= FILE_BYTES and FILE_NAME.fullmatch(job_id):
            sink = pa.BufferOutputStream()
            fields = json.dumps(JOB_SCHEMAS.get(job_id) or [])
            with pa.ipc.new_file(sink, table.schema, metadata={"fields": fields}) as writer:
                writer.write_table(table)
            write_atomically(self._folder / job_id, sink.getvalue().to_pybytes())
        # Measured once: five hundred of them at each job were a tenth of its time.
        sizes = self._sizes = {
            job: self._sizes.get(job) or result.nbytes for job, result in JOB_RESULTS.items()
        }
        for oldest in list(sizes)[:-1]:
            if len(sizes) <= RESULTS and sum(sizes.values()) <= RESULT_BYTES:
                break
            del sizes[oldest], JOB_RESULTS[oldest]
            JOB_SCHEMAS.pop(oldest, None)

    def recall(self, job_id: str) -> None:
        """Load a kept result back into the library's memory."""
        path = self._folder / job_id
        if job_id not in JOB_RESULTS and FILE_NAME.fullmatch(job_id) and path.exists():
            with pa.ipc.open_file(path) as reader:
                JOB_SCHEMAS[job_id] = json.loads(reader.metadata[b"fields"])
                JOB_RESULTS[job_id] = reader.read_all()

    def job_of(self, table: str) -> str:
        """The id of the job with this anonymous result table, or an empty string."""
        flat = table.removeprefix("anon")
        files = (path.name for path in self._folder.iterdir())
        return next((job for job in [*JOB_RESULTS, *files] if job.replace("-", "") == flat), "")
