"""When tables expire, kept beside the library. Gap: it drops the time, and tables stay for ever."""

import json
import time
from pathlib import Path
from typing import Any

from taxiway.emulators.serving import write_atomically

Json = dict[str, Any]
Key = tuple[str, str, str]


class Expiry:
    """The time (milliseconds since 1970) after which a table (project, dataset, name) is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = json.loads(path.read_text()) if path.exists() else []
        self._times: dict[Key, int] = {tuple(key): when for key, when in kept}

    def remember(self, key: Key, body: Json) -> None:
        """Take in the creation of a table."""
        if body.get("expirationTime"):
            self._store(self._times | {key: int(body["expirationTime"])})

    def forget(self, key: Key) -> None:
        """Take in that a table is gone."""
        if key in self._times:
            self._store({other: when for other, when in self._times.items() if other != key})

    def over(self) -> list[Key]:
        """Return the tables whose time is over."""
        now = time.time() * 1000
        return [key for key, when in self._times.items() if when <= now]

    def completed(self, key: Key, answer: Json) -> Json:
        """Return a table as the library answers it with its time."""
        return answer | ({"expirationTime": str(self._times[key])} if key in self._times else {})

    def _store(self, times: dict[Key, int]) -> None:
        self._times = times
        write_atomically(self._path, json.dumps([[list(key), when] for key, when in times.items()]).encode())
