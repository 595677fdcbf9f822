"""State that the library drops: attributes of datasets, expiry of tables, results of queries."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from bqemulator.jobs.executor import JOB_RESULTS, JOB_SCHEMAS

from taxiway.emulators.answers import Json, write_atomically

DROPPED = (
    "defaultCollation", "defaultEncryptionConfiguration", "defaultRoundingMode", "isCaseInsensitive",
    "maxTimeTravelHours", "resourceTags", "storageBillingModel",
)  # fmt: skip
RESULTS = 500
RESULT_BYTES = 256 << 20
FILE_BYTES = 16 << 20
DAY = 24 * 3600


class Kept:
    """Values by key, in a JSON file that is rewritten with each change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def put(self, key: str, value: Any) -> None:
        """Set a value; an empty one removes the key."""
        values = {name: kept for name, kept in (self.values | {key: value}).items() if kept}
        if values != self.values:
            self.values = values
            write_atomically(self._path, json.dumps(values).encode())


class Attributes(Kept):
    """Attributes of datasets that the library drops, by `project:dataset`.

    BigQuery: it returns all attributes of a dataset. Library: it drops those above. Upstream: "Datasets lose
    maxTimeTravelHours, storageBillingModel, defaultEncryptionConfiguration".
    """

    def remember(self, method: str, key: str, body: Json) -> None:
        """Record a successful POST, PUT, PATCH (merges, null removes) or DELETE."""
        given = {name: body[name] for name in DROPPED if name in body}
        merged = given if method != "PATCH" else self.values.get(key, {}) | given
        self.put(key, {name: value for name, value in merged.items() if value is not None})

    def completed(self, dataset: Json) -> Json:
        """The library's dataset with its dropped attributes."""
        return {**dataset, **self.values.get(str(dataset.get("id")), {})}


class Expiry(Kept):
    """Expiration times of tables (milliseconds since 1970), by `project/dataset/table`.

    BigQuery: it deletes a table at its `expirationTime`. Library: it ignores the field. Upstream:
    "tables.insert ignores expirationTime".
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        kept: Any = self.values
        if isinstance(kept, list):  # pairs, written by older versions
            self.values = {"/".join(key): when for key, when in kept}

    def remember(self, key: str, body: Json) -> None:
        """Record a table's creation or change; null removes the time, a missing field keeps it."""
        if "expirationTime" in body:
            self.put(key, int(body["expirationTime"] or 0))

    def over(self) -> list[str]:
        """The expired tables."""
        return [key for key, when in self.values.items() if when <= time.time() * 1000]


class Results:
    """Results of queries, in the library's memory and, for a day, in files.

    BigQuery: it keeps results for a day. Library: it keeps all of them in memory until it is restarted.
    Upstream: "JOB_RESULTS grows without bound, and is lost on restart".
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if time.time() - path.stat().st_mtime > DAY:
                path.unlink()

    def keep(self, job_id: str) -> None:
        """Write the result of a finished job unless it is large, and evict old ones from memory."""
        table = JOB_RESULTS.get(job_id)
        if table is not None and table.nbytes <= FILE_BYTES:
            sink = pa.BufferOutputStream()
            fields = json.dumps(JOB_SCHEMAS.get(job_id) or [])
            with pa.ipc.new_file(sink, table.schema, metadata={"fields": fields}) as writer:
                writer.write_table(table)
            write_atomically(self._path(job_id), sink.getvalue().to_pybytes())
        while len(JOB_RESULTS) > 1 and (len(JOB_RESULTS) > RESULTS or self._bytes() > RESULT_BYTES):
            oldest = next(iter(JOB_RESULTS))
            JOB_RESULTS.pop(oldest)
            JOB_SCHEMAS.pop(oldest, None)

    def recall(self, job_id: str) -> None:
        """Load a kept result back into the library's memory."""
        path = self._path(job_id)
        if job_id in JOB_RESULTS or not path.exists():
            return
        with pa.ipc.open_file(path) as reader:
            JOB_SCHEMAS[job_id] = json.loads(reader.metadata[b"fields"])
            JOB_RESULTS[job_id] = reader.read_all()

    def job_of(self, table: str) -> str:
        """The id of the job with this anonymous result table, or an empty string."""
        flat = table.removeprefix("anon")
        files = (path.name for path in self._folder.iterdir())
        return next((job for job in [*JOB_RESULTS, *files] if job.replace("-", "") == flat), "")

    def _path(self, job_id: str) -> Path:
        return self._folder / Path(job_id).name

    @staticmethod
    def _bytes() -> Any:
        return sum(table.nbytes for table in JOB_RESULTS.values())
