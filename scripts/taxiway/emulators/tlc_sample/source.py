"""TLC's content delivery network: GET and HEAD, ranges, 403 for what is not published."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taxiway.emulators.answers import Application, FileAnswer, part
from taxiway.emulators.tlc_sample.datasets import DATASETS, Dataset, Month

EDITION = 1  # raise it when the generator writes other bytes
ZONES = Path(__file__).parent / "taxi_zone_lookup.csv"
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


@dataclass(frozen=True)
class Published:
    """A file to serve; `modified` is when TLC would have published the month."""

    path: Path
    etag: str
    modified: datetime
    content_type: str


class Store:
    """The files published from `first` to `last`, with `rows` rows a month.

    A file is generated when it is first requested, and kept in `cache` under a name with all its parameters.
    """

    def __init__(self, cache: Path, rows: int, first: Month, last: Month) -> None:
        self._cache, self._rows, self._first, self._last = cache, rows, first, last
        self._lock, self._tags = threading.Lock(), dict[Path, str]()
        cache.mkdir(parents=True, exist_ok=True)

    def find(self, path: str) -> Published | None:
        """The file behind a URL's path, or None where nothing is published there."""
        if path == "/misc/taxi_zone_lookup.csv":
            return self._published(ZONES, Month(2017, 8), "text/csv")
        prefix, _, text = path.removeprefix("/trip-data/").removesuffix(".parquet").rpartition("_")
        if path != f"/trip-data/{prefix}_{text}.parquet":
            return None
        try:
            month = Month.parse(text)
        except ValueError:
            return None
        for dataset in DATASETS.values():
            if dataset.prefix == prefix and max(self._first, dataset.first) <= month <= self._last:
                kept = self._cache / f"{prefix}_{month}.{self._rows}-rows.edition-{EDITION}.parquet"
                self._make(kept, dataset, month)
                return self._published(kept, month, "binary/octet-stream")
        return None

    def _make(self, path: Path, dataset: Dataset, month: Month) -> None:
        # Two clients may request a new month at the same time.
        with self._lock:
            if not path.exists():
                unfinished = path.with_name(f".{path.name}.tmp")
                dataset.write(unfinished, month, self._rows)
                unfinished.replace(path)

    def _published(self, path: Path, month: Month, content_type: str) -> Published:
        if path not in self._tags:
            with path.open("rb") as content:
                self._tags[path] = f'"{hashlib.file_digest(content, _md5).hexdigest()}"'
        modified = month.plus(2).first_moment().replace(hour=6)
        return Published(path, self._tags[path], modified, content_type)


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def application(store: Store) -> Application:
    """The service that publishes `store`."""
    return Application("sample-source", [Route("/{path:path}", _file)], store)


async def _file(request: Request) -> Response:
    # Generating a month takes seconds.
    found = await asyncio.to_thread(request.app.state.store.find, f"/{part(request, 'path')}")
    if found is None:
        return Response(DENIED, 403, media_type="application/xml")
    headers = {
        "Content-Type": found.content_type,
        "ETag": found.etag,
        "Last-Modified": format_datetime(found.modified, usegmt=True),
    }
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileAnswer(request, found.path.open("rb"), headers)
