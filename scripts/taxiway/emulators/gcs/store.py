"""What the storage service keeps: an index in SQLite, and a file of its own for each generation of an object.

One commit of the index is the moment of every change: a file is complete before the index names it, and goes
only after the index has forgotten it. So a kill leaves at most a file that nobody names, which the next start
removes. The names of objects stand in the index alone: any legal one will do.
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
from pathlib import Path
from typing import Any

import google_crc32c

from taxiway.emulators.answers import PIECE, Json
from taxiway.emulators.gcs import FILES, INDEX
from taxiway.emulators.serving import CannotStartError

VERSION = 1
# Google keeps a session for a week. Here its bytes lie on somebody's laptop.
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
    """One generation of an object. `resource` lacks the links, which depend on who asks."""

    bucket: str
    name: str
    generation: int
    state: str
    file: str
    resource: Json
    until: float | None = None


@dataclass(frozen=True)
class Session:
    """A resumable upload: what its start gave (metadata, query), and the object once it is there."""

    id: str
    bucket: str
    name: str
    given: Json
    query: dict[str, str]
    done: Json | None


class Incoming:
    """A file that grows, and the checksums of what is in it. Not for two threads at once."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._md5: Any = hashlib.md5(usedforsecurity=False)
        self._crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        path.touch()
        if path.stat().st_size:  # begun before a restart
            with path.open("rb") as begun:
                while piece := begun.read(PIECE):
                    self._count(piece)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append; a write that fails half-way leaves nothing of it."""
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
        """Size and checksums of all so far, as an object's resource has them."""
        md5, crc = (base64.b64encode(sum_.digest()).decode() for sum_ in (self._md5, self._crc))
        return {"size": str(self.size), "md5Hash": md5, "crc32c": crc}


class Store:
    """The data under `root`, open for one process. Raises CannotStartError where they cannot be."""

    def __init__(self, root: Path) -> None:
        self._files = root / FILES
        if (root / ".meta").exists():
            raise CannotStartError(
                f"{root} holds objects of an older version, which this one does not read; "
                "start anew with scripts/down and scripts/up, or move the folder away."
            )
        self._files.mkdir(parents=True, exist_ok=True)
        self._lock = (root / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStartError(f"another storage service uses {root}.") from None
        self._index = _opened(root / INDEX)
        self._run = self._index.execute
        self._incoming: dict[str, Incoming] = {}
        self._generation = int(self._run("SELECT max(generation) FROM object").fetchone()[0] or 0)
        self.sweep()
        named = self._run("SELECT file FROM object UNION SELECT id FROM session WHERE done IS NULL")
        known = {file for (file,) in named}
        for path in self._files.iterdir():
            if path.name not in known:
                self.discard(path)

    def close(self) -> None:
        """Close the index; all data are on disk already."""
        self._index.close()
        self._lock.close()

    @contextmanager
    def _change(self) -> Iterator[list[str]]:
        """One transaction; the files put into the list are removed once it is committed."""
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

    @staticmethod
    def discard(path: Path) -> None:
        """Remove a file; one that cannot be removed waits for the next start."""
        with suppress(OSError):
            path.unlink(missing_ok=True)

    @contextmanager
    def new_file(self) -> Iterator[Path]:
        """A path for content to come, which goes again unless an object is made of it."""
        path = self._files / secrets.token_hex(16)
        try:
            yield path
        except BaseException:
            self.discard(path)
            raise

    def sweep(self) -> None:
        """Remove sessions that nobody continues, and objects whose soft deletion is over."""
        now = time.time()
        with self._change() as doomed:
            old = self._run(
                "DELETE FROM session WHERE touched < ? RETURNING id, done", (now - SESSION_SECONDS,)
            )
            doomed += [id_ for id_, done in old if done is None]
            doomed += [
                file for (file,) in self._run("DELETE FROM object WHERE until < ? RETURNING file", (now,))
            ]

    # Buckets

    def buckets(self) -> Iterator[Json]:
        """All buckets, by name."""
        for (resource,) in self._run("SELECT resource FROM bucket ORDER BY name"):
            yield json.loads(resource)

    def bucket(self, name: str) -> tuple[Json, Json | None] | None:
        """A bucket's resource and its policy (None: nobody set one), None where there is no such bucket."""
        row = self._run("SELECT resource, policy FROM bucket WHERE name = ?", (name,)).fetchone()
        return (json.loads(row[0]), json.loads(row[1]) if row[1] else None) if row else None

    def put_bucket(self, resource: Json, policy: Json | None = None) -> None:
        """Create or replace a bucket."""
        row = (resource["name"], json.dumps(resource), json.dumps(policy) if policy else None)
        with self._change():
            self._run("REPLACE INTO bucket VALUES (?, ?, ?)", row)

    def delete_bucket(self, name: str) -> bool:
        """Delete a bucket, with its soft-deleted objects and open sessions; False where objects are left."""
        left = "SELECT 1 FROM object WHERE bucket = ? AND state != ? LIMIT 1"
        if self._run(left, (name, SOFT_DELETED)).fetchone():
            return False
        with self._change() as doomed:
            doomed += [
                file for (file,) in self._run("DELETE FROM object WHERE bucket = ? RETURNING file", (name,))
            ]
            doomed += [
                id_ for (id_,) in self._run("DELETE FROM session WHERE bucket = ? RETURNING id", (name,))
            ]
            self._run("DELETE FROM bucket WHERE name = ?", (name,))
        return True

    # Objects

    def live(self, bucket: str, name: str) -> Stored | None:
        """The live generation of an object."""
        return next(self._objects("name = ? AND state = ?", bucket, name, LIVE), None)

    def version(self, bucket: str, name: str, generation: int, *, deleted: bool = False) -> Stored | None:
        """A generation of an object, live or not, or one that was soft-deleted."""
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
        """Where an object's content lies."""
        return self._files / stored.file

    def next_generation(self) -> int:
        """A number larger than any before: microseconds since 1970, as Google's are."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation

    def put(self, resource: Json, path: Path, *, session: str = "", instead_of: Stored | None = None) -> None:
        """Make the content at `path` the live generation of the object that `resource` describes.

        What was live before is kept as its bucket says: as a noncurrent version, soft-deleted, or not at all.
        `session` ends with it; `instead_of`, whose content it is, is no more.
        """
        new = Stored(
            resource["bucket"], resource["name"], int(resource["generation"]), LIVE, path.name, resource
        )
        with self._change() as doomed:
            if instead_of is not None:
                self._forget(instead_of)
            if previous := self.live(new.bucket, new.name):
                self._retire(previous, doomed, keep_version=True)
            self._write(new)
            if session:
                done = (json.dumps(resource), time.time(), session)
                self._run("UPDATE session SET done = ?, touched = ? WHERE id = ?", done)
        self._incoming.pop(path.name, None)

    def update(self, stored: Stored, resource: Json) -> None:
        """Give a generation other metadata."""
        with self._change():
            self._write(replace(stored, resource=resource))

    def delete(self, stored: Stored, *, keep_version: bool) -> None:
        """Delete a generation; `keep_version`: it becomes a noncurrent one where the bucket has versions."""
        with self._change() as doomed:
            self._retire(stored, doomed, keep_version=keep_version)

    def _retire(self, stored: Stored, doomed: list[str], *, keep_version: bool) -> None:
        bucket = (self.bucket(stored.bucket) or ({}, None))[0]
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
        """Open a session; return its id, which is also the name of its file."""
        self.sweep()
        row = (secrets.token_hex(16), bucket, name, json.dumps(given), json.dumps(query), time.time())
        with self._change():
            self._run("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        return row[0]

    def session(self, made: str) -> Session | None:
        """The session with this id, unless it has ended long ago."""
        columns = "id, bucket, name, given, query, done"
        row = self._run(f"SELECT {columns} FROM session WHERE id = ?", (made,)).fetchone()  # noqa: S608
        if row is None:
            return None
        given, query, done = (json.loads(text or "null") for text in row[3:])
        return Session(row[0], row[1], row[2], given, query, done)

    def received(self, session: Session) -> Incoming:
        """What has arrived of an upload, before and after a restart; the session lives another day."""
        with self._change():
            self._run("UPDATE session SET touched = ? WHERE id = ?", (time.time(), session.id))
        if session.id not in self._incoming:
            self._incoming[session.id] = Incoming(self._files / session.id)
        return self._incoming[session.id]

    def cancel(self, session: Session) -> None:
        """Forget a session and what has arrived of it."""
        with self._change() as doomed:
            self._run("DELETE FROM session WHERE id = ?", (session.id,))
            doomed.append(session.id)


def _opened(path: Path) -> sqlite3.Connection:
    """The index at `path`, made where there is none."""
    try:
        index = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # The log lets the warehouse read without a right to write, and a commit not wait for the disk.
        index.execute("PRAGMA journal_mode = WAL")
        index.execute("PRAGMA synchronous = NORMAL")
        version = index.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            index.executescript(SCHEMA)
    except sqlite3.DatabaseError as error:
        raise CannotStartError(f"{path}: {error}; move the folder away to start anew.") from None
    if version not in (0, VERSION):
        raise CannotStartError(f"{path} is of version {version}, and this service reads {VERSION}.")
    return index


def timestamp(seconds: float | None = None) -> str:
    """A moment, by default the present, as the API writes it."""
    whole, micro = divmod(int((time.time() if seconds is None else seconds) * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{micro:06d}Z"
