"""What `up` decided about an environment, remembered for the verbs that follow."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Self

from taxiway.environment.files import read_json, write_json
from taxiway.environment.paths import Home
from taxiway.errors import TaxiwayError

SAMPLE = "sample"


@dataclass(frozen=True)
class State:
    """One environment. `source` is `sample` or the URL of a site laid out like TLC's.

    `project` is the Google Cloud project of the stack; empty where it is on emulators.
    """

    ports: Mapping[str, int]
    source: str = SAMPLE
    engine: str = "in-process"
    stack: str = "local"
    target: str = "embedded"
    project: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    schedule_start: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())

    @property
    def source_url(self) -> str:
        """Where the months are fetched from."""
        return f"http://127.0.0.1:{self.ports['sample-source']}" if self.source == SAMPLE else self.source

    @property
    def api_url(self) -> str:
        """Airflow's UI and API."""
        return f"http://127.0.0.1:{self.ports['api-server']}"

    def save(self, home: Home) -> None:
        """Remember it."""
        write_json(home.state, asdict(self))

    @classmethod
    def load(cls, home: Home) -> Self | None:
        """The environment below `home`; None where there is none."""
        stored = read_json(home.state)
        return cls(**stored) if stored else None

    @classmethod
    def require(cls, home: Home) -> Self:
        """The environment below `home`, or the sentence that there is none."""
        state = cls.load(home)
        if state is None:
            raise TaxiwayError("there is no environment here yet", "Create one: scripts/up")
        return state


@contextmanager
def exclusive(home: Home, verb: str) -> Iterator[None]:
    """One verb at a time changes an environment."""
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home.root / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TaxiwayError(
                f"scripts/{verb} has to wait: another verb is changing this environment",
                "Wait for it to end, or end it; then call again.",
            ) from None
        yield
