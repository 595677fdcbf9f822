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
SCHEMA = f"""
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
"""


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
    done: Json | None = None


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

    def checksums(self) -> tuple[str, str]:
        """MD5 and CRC32C of all so far, in base64."""
        return base64.b64encode(self._md5.digest()).decode(), base64.b64encode(self._crc.digest()).decode()


class Store:
    """The data under `root`, open for one process. Raises CannotStartError where they cannot be."""

    def __init__(self, root: Path) -> None:
        self.root, self._files = root, root / FILES
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
        self._index = self._opened(root / INDEX)
        self._hashes: dict[str, Incoming] = {}
        newest = self._index.execute("SELECT max(generation) FROM object").fetchone()[0]
        self._generation = int(newest or 0)
        self.sweep()
        self._remove_orphans()

    def _opened(self, path: Path) -> sqlite3.Connection:
        try:
            index = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # The log lets the warehouse read without a right to write, and a commit not wait for the disk.
            index.execute("PRAGMA journal_mode = WAL")
            index.execute("PRAGMA synchronous = NORMAL")
            version = index.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                index.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        except sqlite3.DatabaseError as error:
            raise CannotStartError(f"{path}: {error}; move the folder away to start anew.") from None
        if version not in (0, VERSION):
            raise CannotStartError(f"{path} is of version {version}, and this service reads {VERSION}.")
        return index

    def close(self) -> None:
        """Close the index; all data are on disk already."""
        self._index.close()
        self._lock.close()

    @contextmanager
    def _change(self) -> Iterator[list[str]]:
        """One transaction; the files put into the list are removed once it is committed."""
        doomed: list[str] = []
        self._index.execute("BEGIN IMMEDIATE")
        try:
            yield doomed
            self._index.execute("COMMIT")
        except BaseException:
            self._index.execute("ROLLBACK")
            raise
        for file in doomed:
            self._hashes.pop(file, None)
            self.discard(self._files / file)

    @staticmethod
    def discard(path: Path) -> None:
        """Remove a file; one that cannot be removed waits for the next start."""
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove sessions that nobody continues, and objects whose soft deletion is over."""
        now = time.time()
        with self._change() as doomed:
            old = ("FROM session WHERE touched < ?", (now - SESSION_SECONDS,))
            doomed += [row[0] for row in self._index.execute(f"SELECT id {old[0]} AND done IS NULL", old[1])]
            self._index.execute(f"DELETE {old[0]}", old[1])
            doomed += [
                row[0] for row in self._index.execute("SELECT file FROM object WHERE until < ?", (now,))
            ]
            self._index.execute("DELETE FROM object WHERE until < ?", (now,))

    def _remove_orphans(self) -> None:
        named = "SELECT file FROM object UNION SELECT id FROM session WHERE done IS NULL"
        known = {row[0] for row in self._index.execute(named)}
        for path in self._files.iterdir():
            if path.name not in known:
                self.discard(path)

    # Buckets

    def buckets(self) -> Iterator[Json]:
        """All buckets, by name."""
        for (resource,) in self._index.execute("SELECT resource FROM bucket ORDER BY name"):
            yield json.loads(resource)

    def bucket(self, name: str) -> tuple[Json, Json | None] | None:
        """A bucket's resource and its policy (None: nobody set one), None where there is no such bucket."""
        row = self._index.execute("SELECT resource, policy FROM bucket WHERE name = ?", (name,)).fetchone()
        return (json.loads(row[0]), json.loads(row[1]) if row[1] else None) if row else None

    def put_bucket(self, resource: Json, policy: Json | None = None) -> None:
        """Create or replace a bucket."""
        kept = json.dumps(policy) if policy else None
        with self._change():
            self._index.execute(
                "REPLACE INTO bucket VALUES (?, ?, ?)", (resource["name"], json.dumps(resource), kept)
            )

    def delete_bucket(self, name: str) -> bool:
        """Delete a bucket, with its soft-deleted objects and open sessions; False where objects are left."""
        left = "SELECT 1 FROM object WHERE bucket = ? AND state != ? LIMIT 1"
        if self._index.execute(left, (name, SOFT_DELETED)).fetchone():
            return False
        with self._change() as doomed:
            files = "SELECT file FROM object WHERE bucket = ? UNION SELECT id FROM session WHERE bucket = ?"
            doomed += [row[0] for row in self._index.execute(files, (name, name))]
            for statement in (
                "DELETE FROM object WHERE bucket = ?",
                "DELETE FROM session WHERE bucket = ?",
                "DELETE FROM bucket WHERE name = ?",
            ):
                self._index.execute(statement, (name,))
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
        columns = "bucket, name, generation, state, file, resource, until"
        found = self._index.execute(
            f"SELECT {columns} FROM object WHERE bucket = ? AND {where}",  # noqa: S608
            (bucket, *values),
        )
        for *row, resource, until in found:
            place, name, generation, state, file = row
            yield Stored(place, name, generation, state, file, json.loads(resource), until)

    def path(self, stored: Stored) -> Path:
        """Where an object's content lies."""
        return self._files / stored.file

    def next_generation(self) -> int:
        """A number larger than any before: microseconds since 1970, as Google's are."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation

    def new_file(self) -> Path:
        """A path for content to come; nothing is there yet."""
        return self._files / secrets.token_hex(16)

    def put(self, resource: Json, path: Path, session: str = "") -> None:
        """Make the content at `path` the live generation of the object that `resource` describes.

        What was live before is kept as its bucket says: as a noncurrent version, soft-deleted, or not at all.
        """
        bucket, name = resource["bucket"], resource["name"]
        new = Stored(bucket, name, int(resource["generation"]), LIVE, path.name, resource)
        with self._change() as doomed:
            if previous := self.live(bucket, name):
                self._retire(previous, doomed, keep_version=True)
            self._write(new)
            if session:
                self._index.execute(
                    "UPDATE session SET done = ?, touched = ? WHERE id = ?",
                    (json.dumps(resource), time.time(), session),
                )
        self._hashes.pop(path.name, None)

    def replace(self, stored: Stored, resource: Json) -> None:
        """Give a generation other metadata, or another state where it was soft-deleted: it is live then."""
        with self._change():
            self._write(replace(stored, resource=resource))

    def restore(self, stored: Stored, resource: Json) -> None:
        """Make a soft-deleted generation the live one, under a number of its own."""
        with self._change() as doomed:
            if previous := self.live(stored.bucket, stored.name):
                self._retire(previous, doomed, keep_version=True)
            self._forget(stored)
            self._write(
                replace(
                    stored, generation=int(resource["generation"]), state=LIVE, resource=resource, until=None
                )
            )

    def delete(self, stored: Stored, *, keep_version: bool) -> None:
        """Delete a generation; `keep_version`: it becomes a noncurrent one where the bucket has versions."""
        with self._change() as doomed:
            self._retire(stored, doomed, keep_version=keep_version)

    def move(self, stored: Stored, resource: Json) -> None:
        """Give the live generation another name, at once."""
        with self._change() as doomed:
            if previous := self.live(stored.bucket, resource["name"]):
                self._retire(previous, doomed, keep_version=True)
            self._forget(stored)
            self._write(
                replace(
                    stored, name=resource["name"], generation=int(resource["generation"]), resource=resource
                )
            )

    def _retire(self, stored: Stored, doomed: list[str], *, keep_version: bool) -> None:
        found = self.bucket(stored.bucket)
        bucket = found[0] if found else {}
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
        self._index.execute(
            "REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*row, json.dumps(stored.resource), stored.until),
        )

    def _forget(self, stored: Stored) -> None:
        self._index.execute(
            "DELETE FROM object WHERE bucket = ? AND name = ? AND generation = ?",
            (stored.bucket, stored.name, stored.generation),
        )

    # Resumable uploads

    def begin(self, bucket: str, name: str, given: Json, query: dict[str, str]) -> str:
        """Open a session; return its id, which is also the name of its file."""
        self.sweep()
        made = secrets.token_hex(16)
        row = (made, bucket, name, json.dumps(given), json.dumps(query), time.time())
        with self._change():
            self._index.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        return made

    def session(self, made: str) -> Session | None:
        """The session with this id, unless it has ended long ago."""
        columns = "id, bucket, name, given, query, done"
        row = self._index.execute(f"SELECT {columns} FROM session WHERE id = ?", (made,)).fetchone()  # noqa: S608
        if row is None:
            return None
        key, bucket, name, given, query, done = row
        finished = json.loads(done) if done else None
        return Session(key, bucket, name, json.loads(given), json.loads(query), finished)

    def received(self, session: Session) -> Incoming:
        """What has arrived of an upload, before and after a restart."""
        if session.id not in self._hashes:
            self._hashes[session.id] = Incoming(self._files / session.id)
        return self._hashes[session.id]

    def touch(self, session: Session) -> None:
        """Keep a session for another day."""
        with self._change():
            self._index.execute("UPDATE session SET touched = ? WHERE id = ?", (time.time(), session.id))

    def cancel(self, session: Session) -> None:
        """Forget a session and what has arrived of it."""
        with self._change() as doomed:
            self._index.execute("DELETE FROM session WHERE id = ?", (session.id,))
            doomed.append(session.id)


def timestamp(seconds: float | None = None) -> str:
    """A moment, by default the present, as the API writes it."""
    moment = time.time() if seconds is None else seconds
    whole, micro = divmod(int(moment * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{micro:06d}Z"
