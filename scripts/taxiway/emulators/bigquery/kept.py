"""What the library drops, kept beside its database: attributes of datasets, when tables expire, results."""

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
    """Values by key in a JSON file, written whole with each change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def put(self, key: str, value: Any) -> None:
        """Keep `value`; nothing, where it is empty."""
        values = {name: kept for name, kept in (self.values | {key: value}).items() if kept}
        if values != self.values:
            self.values = values
            write_atomically(self._path, json.dumps(values).encode())


class Attributes(Kept):
    """What datasets were given beyond what the library keeps, by `project:dataset`.

    BigQuery: what a dataset was created with is read back. Library: it drops the attributes above. Upstream:
    "Datasets lose maxTimeTravelHours, storageBillingModel, defaultEncryptionConfiguration".
    """

    def remember(self, method: str, key: str, body: Json) -> None:
        """Take in a POST, PUT (replaces), PATCH (merges, null removes) or DELETE that succeeded."""
        given = {name: body[name] for name in DROPPED if name in body}
        merged = given if method != "PATCH" else self.values.get(key, {}) | given
        self.put(key, {name: value for name, value in merged.items() if value is not None})

    def completed(self, dataset: Json) -> Json:
        """A dataset as the library answers it, with what it dropped."""
        return {**dataset, **self.values.get(str(dataset.get("id")), {})}


class Expiry(Kept):
    """The time (milliseconds since 1970) after which a table is gone, by `project/dataset/table`.

    BigQuery: a table with `expirationTime` goes then. Library: it drops the time, and the table stays for
    ever. Upstream: "tables.insert ignores expirationTime".
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        kept: Any = self.values
        if isinstance(kept, list):  # pairs, as older versions wrote them
            self.values = {"/".join(key): when for key, when in kept}

    def remember(self, key: str, body: Json) -> None:
        """Take in a table's creation or change; null removes the time, and without one it stays."""
        if "expirationTime" in body:
            self.put(key, int(body["expirationTime"] or 0))

    def over(self) -> list[str]:
        """The tables whose time is over."""
        return [key for key, when in self.values.items() if when <= time.time() * 1000]


class Results:
    """The rows of queries, in the library's memory and, for a day, in files.

    BigQuery: a job's result can be read for a day. Library: it keeps all of them in memory, for ever, and
    none over a restart. Upstream: "JOB_RESULTS grows without bound, and is lost on restart".
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if time.time() - path.stat().st_mtime > DAY:
                path.unlink()

    def keep(self, job_id: str) -> None:
        """Write the result of a job that has ended, unless it is large; make room in memory."""
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
        """Bring the result of a job back into the library's memory, where there is one."""
        path = self._path(job_id)
        if job_id in JOB_RESULTS or not path.exists():
            return
        with pa.ipc.open_file(path) as reader:
            JOB_SCHEMAS[job_id] = json.loads(reader.metadata[b"fields"])
            JOB_RESULTS[job_id] = reader.read_all()

    def job_of(self, table: str) -> str:
        """The job behind an anonymous table's name, empty where there is none."""
        flat = table.removeprefix("anon")
        files = (path.name for path in self._folder.iterdir())
        return next((job for job in [*JOB_RESULTS, *files] if job.replace("-", "") == flat), "")

    def _path(self, job_id: str) -> Path:
        return self._folder / Path(job_id).name

    @staticmethod
    def _bytes() -> Any:
        return sum(table.nbytes for table in JOB_RESULTS.values())
