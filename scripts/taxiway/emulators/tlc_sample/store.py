"""The published files: written when first asked for, kept under a name that says what they hold."""

import hashlib
import os
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from taxiway.emulators.serving import open_temporary
from taxiway.emulators.tlc_sample.datasets import DATASETS, Dataset
from taxiway.emulators.tlc_sample.months import Month

EDITION = 1  # raise it when the generator writes other bytes
ZONES = Path(__file__).parent / "taxi_zone_lookup.csv"


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


@dataclass(frozen=True)
class Published:
    """A file to serve. The entity tag is of its content, the time the one a real month appears at."""

    path: Path
    size: int
    etag: str
    modified: datetime
    content_type: str


class Store:
    """What is published from `first` to `last`, with `rows` rows a month, kept in `cache`."""

    def __init__(self, cache: Path, rows: int, first: Month, last: Month) -> None:
        self._cache, self._rows, self._first, self._last = cache, rows, first, last
        self._lock, self._tags = threading.Lock(), dict[Path, str]()
        cache.mkdir(parents=True, exist_ok=True)

    def find(self, path: str) -> Published | None:
        """Return the file behind a URL's path, or None where nothing is published there."""
        if path == "/misc/taxi_zone_lookup.csv":
            return self._published(ZONES, Month(2017, 8), "text/csv")
        name, _, text = path.removeprefix("/trip-data/").removesuffix(".parquet").rpartition("_")
        if path != f"/trip-data/{name}_{text}.parquet":
            return None
        try:
            month = Month.parse(text)
        except ValueError:
            return None
        return self._find_month(name, month)

    def _find_month(self, prefix: str, month: Month) -> Published | None:
        for dataset in DATASETS.values():
            if dataset.prefix == prefix and max(self._first, dataset.first) <= month <= self._last:
                path = self._cache / f"{prefix}_{month}.{self._rows}-rows.edition-{EDITION}.parquet"
                self._make(path, dataset, month)
                return self._published(path, month, "binary/octet-stream")
        return None

    def _make(self, path: Path, dataset: Dataset, month: Month) -> None:
        with self._lock:
            if not path.exists():
                with open_temporary(self._cache) as (handle, temporary):
                    os.close(handle)
                    dataset.write(temporary, month, self._rows)
                    temporary.replace(path)

    def _published(self, path: Path, month: Month, content_type: str) -> Published:
        if path not in self._tags:
            with path.open("rb") as content:
                self._tags[path] = f'"{hashlib.file_digest(content, _md5).hexdigest()}"'
        modified = month.plus(2).first_moment().replace(hour=6)
        return Published(path, path.stat().st_size, self._tags[path], modified, content_type)
