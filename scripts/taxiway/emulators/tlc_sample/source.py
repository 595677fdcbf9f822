"""TLC's content delivery network: GET and HEAD, ranges, 403 for what is not published."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from importlib import import_module
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taxiway.emulators.answers import Application, FileAnswer, part

EDITION = 1  # raise it when the generator writes other bytes
# Twenty million rows take minutes.
WRITING_SECONDS = 3600
ZONES = Path(__file__).parent / "taxi_zone_lookup.csv"
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


def parse_month(text: str) -> date:
    """The first day of a month written like `2024-01`. Raises ValueError naming what was given."""
    try:
        if len(text) == 7:
            return date.fromisoformat(f"{text}-01")
    except ValueError:
        pass
    raise ValueError(f"not a month: {text!r}; write it as 2024-01")


def later(month: date, months: int) -> date:
    """The first day of the month so many later."""
    year, index = divmod(month.year * 12 + month.month - 1 + months, 12)
    return date(year, index + 1, 1)


@dataclass(frozen=True)
class Dataset:
    """A monthly dataset, published since `first`."""

    name: str
    first: date


Write = Callable[[Dataset, Path, date, int], None]
"""Writes a month's file of so many rows, the same bytes each time."""


def write_here(dataset: Dataset, path: Path, month: date, rows: int) -> None:
    """Write it in this process."""
    # It brings pyarrow and numpy: only once a month is requested.
    trips = import_module("taxiway.emulators.tlc_sample.trips")
    getattr(trips, f"write_{dataset.name}")(path, month, rows)


def write_elsewhere(dataset: Dataset, path: Path, month: date, rows: int) -> None:
    """Write it in a process that ends: a server that waits need not keep the 90 MB which that takes."""
    program = [sys.executable, "-m", "taxiway.emulators.tlc_sample.trips"]
    arguments = [dataset.name, str(path), f"{month:%Y-%m}", str(rows)]
    subprocess.run([*program, *arguments], check=True, stdin=subprocess.DEVNULL, timeout=WRITING_SECONDS)


FIRST = {"yellow": "2009-01", "green": "2013-08", "fhv": "2015-01", "fhvhv": "2019-02"}
DATASETS = {name: Dataset(name, parse_month(first)) for name, first in FIRST.items()}


class Store:
    """The files published from `first` to `last`, with `rows` rows a month.

    A file is generated when it is first requested, and kept in `cache` under a name with all its parameters.
    """

    def __init__(self, cache: Path, rows: int, first: date, last: date, write: Write = write_here) -> None:
        self._cache, self._rows, self._first, self._last = cache, rows, first, last
        self._write = write
        self._lock, self._tags = threading.Lock(), dict[Path, str]()
        cache.mkdir(parents=True, exist_ok=True)

    def find(self, path: str) -> tuple[Path, dict[str, str]] | None:
        """File and headers of a URL's path, or None where nothing is published; generating takes seconds."""
        if path == "/misc/taxi_zone_lookup.csv":
            return self._published(ZONES, date(2017, 8, 1), "text/csv")
        name, _, text = path.removeprefix("/trip-data/").removesuffix(".parquet").partition("_tripdata_")
        dataset = DATASETS.get(name)
        if dataset is None or path != f"/trip-data/{name}_tripdata_{text}.parquet":
            return None
        try:
            month = parse_month(text)
        except ValueError:
            return None
        if not max(self._first, dataset.first) <= month <= self._last:
            return None
        kept = self._cache / f"{name}_tripdata_{text}.{self._rows}-rows.edition-{EDITION}.parquet"
        # Two clients may request a new month at the same time.
        with self._lock:
            if not kept.exists():
                unfinished = kept.with_name(f".{kept.name}.tmp")
                self._write(dataset, unfinished, month, self._rows)
                unfinished.replace(kept)
        return self._published(kept, month, "binary/octet-stream")

    def _published(self, path: Path, month: date, content_type: str) -> tuple[Path, dict[str, str]]:
        if path not in self._tags:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
            self._tags[path] = f'"{digest.hexdigest()}"'
        # When TLC would have published the month.
        modified = format_datetime(datetime.combine(later(month, 2), time(6), UTC), usegmt=True)
        return path, {"Content-Type": content_type, "ETag": self._tags[path], "Last-Modified": modified}


def application(store: Store) -> Application:
    """The service that publishes `store`."""

    async def answer(request: Request) -> Response:
        found = await asyncio.to_thread(store.find, f"/{part(request, 'path')}")
        if found is None:
            return Response(DENIED, 403, media_type="application/xml")
        path, headers = found
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return FileAnswer(request, path.open("rb"), headers)

    return Application("sample-source", [Route("/{path:path}", answer)], store)
