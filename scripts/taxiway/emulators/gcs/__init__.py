"""The storage service: Cloud Storage's JSON API over an SQLite index and one file per generation."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Set
from contextlib import closing
from pathlib import Path

OBJECTS = "objects"
INDEX = "index.sqlite3"
FILES = "files"
# The predefined roles with storage.objects.get.
_READING = {
    f"roles/storage.{role}"
    for role in (
        "admin", "legacyObjectOwner", "legacyObjectReader", "objectAdmin", "objectUser", "objectViewer",
    )
}  # fmt: skip
_EVERYBODY = {"allUsers", "allAuthenticatedUsers"}


def objects_root(data: Path) -> Path:
    """The folder under `data` from which other processes may read objects, with `find`."""
    return data / OBJECTS


def find(root: Path, bucket: str, pattern: str, members: Set[str] = frozenset()) -> list[tuple[str, Path]]:
    """Names and files of the live objects that match `pattern`, in order; one `*` matches any characters.

    Needs no write access to `root`. A file holds one generation and never changes. Raises FileNotFoundError
    if the bucket does not exist, or no storage service has ever used `root`; PermissionError if its policy
    lets none of `members` read objects. Without members, nobody is asked for a right.
    """
    index_path = root / INDEX
    # SQLite needs the log's shared memory, a file that a running service keeps, and cannot create it on a
    # read-only mount. Without a service nothing changes the index, so it can be opened without that file.
    mode = "mode=ro" if index_path.with_name(f"{INDEX}-shm").exists() else "immutable=1"
    try:
        opened = sqlite3.connect(f"{index_path.absolute().as_uri()}?{mode}", uri=True)
    except sqlite3.OperationalError as error:
        raise FileNotFoundError(f"no storage service has used {root}: {error}") from None
    with closing(opened) as index:
        row = index.execute("SELECT policy FROM bucket WHERE name = ?", (bucket,)).fetchone()
        if row is None:
            raise FileNotFoundError(f"Not found: bucket {bucket}")
        bindings = json.loads(row[0] or "{}").get("bindings", [])
        reading = {member for one in bindings if one["role"] in _READING for member in one["members"]}
        if members and not reading & (members | _EVERYBODY):
            raise PermissionError(f"no right to read objects of bucket {bucket}")
        prefix, star, suffix = pattern.partition("*")
        where = "substr(name, 1, ?) = ? AND name >= ?" if star else "? AND ? AND name = ?"
        values = (len(prefix), prefix, prefix) if star else (1, 1, pattern)
        rows = index.execute(
            f"SELECT name, file FROM object WHERE bucket = ? AND state = 'live' AND {where} ORDER BY name",  # noqa: S608
            (bucket, *values),
        ).fetchall()
    long_enough = len(prefix) + len(suffix)
    return [
        (name, root / FILES / file)
        for name, file in rows
        if not star or (len(name) >= long_enough and name.endswith(suffix))
    ]
