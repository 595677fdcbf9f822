"""The storage service: Cloud Storage's JSON API over one SQLite index and one file per object."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

OBJECTS = "objects"
INDEX = "index.sqlite3"
FILES = "files"


def objects_root(data: Path) -> Path:
    """The folder under `data` that another process may read objects from, with `find`."""
    return data / OBJECTS


def find(root: Path, bucket: str, pattern: str) -> list[tuple[str, Path]]:
    """Names and files of the live objects that `pattern` names, in order; one `*` is any characters.

    For a process that may only read `root`. A file is the content of one generation and never changes. Raises
    FileNotFoundError where there is no such bucket, or where no storage service has been.
    """
    with closing(_read_only(root / INDEX)) as index:
        if not index.execute("SELECT 1 FROM bucket WHERE name = ?", (bucket,)).fetchone():
            raise FileNotFoundError(f"Not found: bucket {bucket}")
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


def _read_only(index: Path) -> sqlite3.Connection:
    """Open the index without writing anything beside it.

    Beside a running service that is its log's shared memory. Without one nobody changes the index
    (`immutable`): SQLite would else create that memory, which a read-only mount forbids.
    """
    alive = index.with_name(f"{INDEX}-shm").exists()
    try:
        return sqlite3.connect(
            f"{index.absolute().as_uri()}?{'mode=ro' if alive else 'immutable=1'}", uri=True
        )
    except sqlite3.OperationalError as error:
        raise FileNotFoundError(f"no storage service has been at {index.parent}: {error}") from None
