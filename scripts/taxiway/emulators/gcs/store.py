"""Persistence of the storage service: an SQLite index, and one file per generation of an object.

Every change takes effect with one commit of the index: a file is complete before the index refers to it, and
is removed only after the index has dropped it. A kill therefore leaves at most unreferenced files, which the
next start removes. Object names exist only in the index, so they need not be valid file names.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google_crc32c

from taxiway.emulators.answers import PIECE, HttpError, Json
from taxiway.emulators.gcs import FILES, INDEX
from taxiway.emulators.serving import CannotStartError

VERSION = 1
# Google keeps sessions for a week; here their bytes fill a developer's disk.
SESSION_SECONDS = 24 * 3600
LIVE, NONCURRENT, SOFT_DELETED = "live", "noncurrent", "deleted"
SCHEMA = f"""BEGIN;
CREATE TABLE bucket (name TEXT PRIMARY KEY, resource TEXT NOT NULL, policy TEXT);
CREATE TABLE object (
    bucket TEXT, name TEXT, generation INTEGER, state TEXT NOT NULL, file TEXT NOT NULL,
    resource TEXT NOT NULL, until REAL, PRIMARY KEY (bucket, name, generation)
) WITHOUT ROWID;
CREATE TABLE session (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, given TEXT NOT NULL, query TEXT NOT NULL,
    touched REAL NOT NULL, done TEXT
);
PRAGMA user_version = {VERSION};
COMMIT;"""


@dataclass(frozen=True)
class Stored:
    """One generation of an object; `resource` has no links, which depend on the client."""

    bucket: str
    name: str
    generation: int
    state: str
    file: str
    resource: Json
    until: float | None = None


@dataclass(frozen=True)
class Session:
    """A resumable upload: metadata and query of its start, and the finished object's resource."""

    id: str
    bucket: str
    name: str
    given: Json
    query: dict[str, str]
    done: Json | None


class Incoming:
    """A growing file and the checksums of its content. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._md5: Any = hashlib.md5(usedforsecurity=False)
        self._crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        path.touch()
        if path.stat().st_size:  # written before a restart
            with path.open("rb") as begun:
                while piece := begun.read(PIECE):
                    self._count(piece)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append; a failed write leaves the file as it was."""
        with self.path.open("ab") as file:
            try:
                file.writelines(pieces)
                file.flush()
            except OSError:
                file.truncate(self.size)
                raise
        for piece in pieces:
            self._count(piece)

    def _count(self, content: bytes) -> None:
        self._md5.update(content)
        self._crc.update(content)
        self.size += len(content)

    def content(self) -> Json:
        """Size and checksums, as fields of an object's resource."""
        md5, crc = (base64.b64encode(sum_.digest()).decode() for sum_ in (self._md5, self._crc))
        return {"size": str(self.size), "md5Hash": md5, "crc32c": crc}


class Store:
    """The data under `root`, open in one process. Raises CannotStartError if they cannot be opened."""

    def __init__(self, root: Path) -> None:
        self._files = root / FILES
        if (root / ".meta").exists():
            raise CannotStartError(
                f"{root} holds objects of an older version, which this one cannot read. "
                "Start afresh with scripts/down and scripts/up, or move the folder away."
            )
        self._files.mkdir(parents=True, exist_ok=True)
        self._lock = (root / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStartError(f"another storage service uses {root}. Stop it first.") from None
        path = root / INDEX
        try:
            self._index = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._run = self._index.execute
            # With a write-ahead log the warehouse can read without write access, and commits need no fsync.
            self._run("PRAGMA journal_mode = WAL")
            self._run("PRAGMA synchronous = NORMAL")
            version = self._run("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._index.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise CannotStartError(f"{path}: {error}. Move the folder away to start afresh.") from None
        if version not in (0, VERSION):
            raise CannotStartError(f"{path} has version {version}; this service reads version {VERSION}.")
        self._incoming: dict[str, Incoming] = {}
        self._generation = int(
            self._run("SELECT max(CAST(generation AS INTEGER)) FROM object").fetchone()[0] or 0
        )
        self.sweep()
        known = set(self._column("SELECT file FROM object UNION SELECT id FROM session WHERE done IS NULL"))
        for file in self._files.iterdir():
            if file.name not in known:
                self.discard(file)

    def close(self) -> None:
        """Close the index; all data is already on disk."""
        self._index.close()
        self._lock.close()

    def _column(self, statement: str, *values: Any) -> list[Any]:
        return [value for (value,) in self._run(statement, values)]

    @contextmanager
    def _change(self) -> Iterator[list[str]]:
        """A transaction; removes the files in the yielded list after its commit."""
        doomed: list[str] = []
        self._run("BEGIN IMMEDIATE")
        try:
            yield doomed
            self._run("COMMIT")
        except BaseException:
            self._run("ROLLBACK")
            raise
        for file in doomed:
            self._incoming.pop(file, None)
            self.discard(self._files / file)

    def discard(self, path: Path) -> None:
        """Remove a file; if that fails, the next start tries again."""
        with suppress(OSError):
            path.unlink(missing_ok=True)

    @contextmanager
    def new_file(self) -> Iterator[Path]:
        """A path for new content; the file is removed if the block raises."""
        path = self._files / secrets.token_hex(16)
        try:
            yield path
        except BaseException:
            self.discard(path)
            raise

    def sweep(self) -> None:
        """Remove expired sessions and expired soft-deleted objects."""
        now = time.time()
        old = now - SESSION_SECONDS
        with self._change() as doomed:
            # The file of a finished session belongs to its object.
            doomed += self._column("DELETE FROM session WHERE touched < ? AND done IS NULL RETURNING id", old)
            self._run("DELETE FROM session WHERE touched < ?", (old,))
            doomed += self._column("DELETE FROM object WHERE until < ? RETURNING file", now)

    # Buckets

    def buckets(self) -> list[Json]:
        """All buckets, by name."""
        return [json.loads(text) for text in self._column("SELECT resource FROM bucket ORDER BY name")]

    def bucket(self, name: str) -> tuple[Json, Json | None]:
        """A bucket's resource, and its policy if one was set. Raises HttpError 404."""
        row = self._run("SELECT resource, policy FROM bucket WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise HttpError(404, f"The specified bucket does not exist: {name!r}.")
        return json.loads(row[0]), json.loads(row[1] or "null")

    def put_bucket(self, resource: Json, policy: Json | None = None) -> None:
        """Create or replace a bucket."""
        row = (resource["name"], json.dumps(resource), json.dumps(policy) if policy else None)
        with self._change():
            self._run("REPLACE INTO bucket VALUES (?, ?, ?)", row)

    def delete_bucket(self, name: str) -> bool:
        """Delete a bucket with its soft-deleted objects and open sessions; False if it has other objects."""
        if self._column("SELECT 1 FROM object WHERE bucket = ? AND state != ? LIMIT 1", name, SOFT_DELETED):
            return False
        with self._change() as doomed:
            doomed += self._column("DELETE FROM object WHERE bucket = ? RETURNING file", name)
            doomed += self._column("DELETE FROM session WHERE bucket = ? RETURNING id", name)
            self._run("DELETE FROM bucket WHERE name = ?", (name,))
        return True

    # Objects

    def live(self, bucket: str, name: str) -> Stored | None:
        """The live generation of an object."""
        return next(self._objects("name = ? AND state = ?", bucket, name, LIVE), None)

    def version(self, bucket: str, name: str, generation: int, *, deleted: bool = False) -> Stored | None:
        """A live or noncurrent generation of an object, or a soft-deleted one."""
        where = f"name = ? AND generation = ? AND state {'=' if deleted else '!='} ?"
        return next(self._objects(where, bucket, name, generation, SOFT_DELETED), None)

    def listed(self, bucket: str, states: Iterable[str], start: str, generation: int) -> Iterator[Stored]:
        """Objects in these states, by name and generation, after `start` and `generation`."""
        chosen = ", ".join(f"'{state}'" for state in states)
        where = f"state IN ({chosen}) AND (name, generation) > (?, ?) ORDER BY name, generation"
        return self._objects(where, bucket, start, generation)

    def _objects(self, where: str, bucket: str, *values: Any) -> Iterator[Stored]:
        columns = "name, generation, state, file, resource, until"
        statement = f"SELECT {columns} FROM object WHERE bucket = ? AND {where}"  # noqa: S608
        for name, generation, state, file, resource, until in self._run(statement, (bucket, *values)):
            yield Stored(bucket, name, generation, state, file, json.loads(resource), until)

    def path(self, stored: Stored) -> Path:
        """The file with the object's content."""
        return self._files / stored.file

    def next_generation(self) -> int:
        """Microseconds since 1970, as Google's generations; always larger than the previous one."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation

    def put(self, resource: Json, path: Path, *, session: str = "", instead_of: Stored | None = None) -> None:
        """Make the content at `path` the live generation of the object that `resource` describes.

        The previous live generation becomes noncurrent, soft-deleted or removed, as its bucket is configured.
        Finishes `session`; drops `instead_of`, the generation that owned the file before.
        """
        bucket, name = resource["bucket"], resource["name"]
        with self._change() as doomed:
            if instead_of is not None:
                self._forget(instead_of)
            if previous := self.live(bucket, name):
                self._retire(previous, doomed, keep_version=True)
            self._write(Stored(bucket, name, int(resource["generation"]), LIVE, path.name, resource))
            if session:
                done = (json.dumps(resource), time.time(), session)
                self._run("UPDATE session SET done = ?, touched = ? WHERE id = ?", done)
        self._incoming.pop(path.name, None)

    def update(self, stored: Stored, resource: Json) -> None:
        """Give a generation other metadata."""
        with self._change():
            self._write(replace(stored, resource=resource))

    def delete(self, stored: Stored, *, keep_version: bool) -> None:
        """Delete a generation; with `keep_version` it becomes noncurrent if the bucket is versioned."""
        with self._change() as doomed:
            self._retire(stored, doomed, keep_version=keep_version)

    def _retire(self, stored: Stored, doomed: list[str], *, keep_version: bool) -> None:
        bucket, _ = self.bucket(stored.bucket)
        seconds = int(bucket.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0))
        if keep_version and stored.state == LIVE and bucket.get("versioning", {}).get("enabled"):
            gone = stored.resource | {"timeDeleted": timestamp()}
            self._write(replace(stored, state=NONCURRENT, resource=gone))
        elif seconds:
            until = time.time() + seconds
            gone = stored.resource | {"softDeleteTime": timestamp(), "hardDeleteTime": timestamp(until)}
            self._write(replace(stored, state=SOFT_DELETED, resource=gone, until=until))
        else:
            self._forget(stored)
            doomed.append(stored.file)

    def _write(self, stored: Stored) -> None:
        row = (stored.bucket, stored.name, stored.generation, stored.state, stored.file)
        kept = (*row, json.dumps(stored.resource), stored.until)
        self._run("REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?)", kept)

    def _forget(self, stored: Stored) -> None:
        key = (stored.bucket, stored.name, stored.generation)
        self._run("DELETE FROM object WHERE bucket = ? AND name = ? AND generation = ?", key)

    # Resumable uploads

    def begin(self, bucket: str, name: str, given: Json, query: dict[str, str]) -> str:
        """Start a session; return its id, which is also its file's name."""
        self.sweep()
        row = (secrets.token_hex(16), bucket, name, json.dumps(given), json.dumps(query), time.time())
        with self._change():
            self._run("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        return row[0]

    def session(self, made: str) -> Session | None:
        """The session with this id; finished ones are known for a day."""
        statement = "SELECT id, bucket, name, given, query, done FROM session WHERE id = ?"
        row = self._run(statement, (made,)).fetchone()
        return Session(*row[:3], *(json.loads(text or "null") for text in row[3:])) if row else None

    def received(self, session: Session) -> Incoming:
        """The bytes received so far, also those before a restart; extends the session by a day."""
        with self._change():
            self._run("UPDATE session SET touched = ? WHERE id = ?", (time.time(), session.id))
        if session.id not in self._incoming:
            self._incoming[session.id] = Incoming(self._files / session.id)
        return self._incoming[session.id]

    def cancel(self, session: Session) -> None:
        """Remove a session and its bytes."""
        with self._change() as doomed:
            doomed += self._column("DELETE FROM session WHERE id = ? RETURNING id", session.id)


def timestamp(seconds: float | None = None) -> str:
    """Seconds since 1970, by default now, in the API's format."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
