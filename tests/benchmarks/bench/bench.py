"""What every section is given."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import data
from bench.contest import Contestant, race
from bench.section import Json, told
from taxiway.console.progress import Progress

FOLDER = Path(__file__).resolve().parents[1]
PEERS = FOLDER / "peers"


@dataclass(frozen=True)
class Bench:
    """One call of the benchmark. `peers` is the Python of their environment; None where there is none."""

    folder: Path
    rows: int
    n: int
    seed: int
    peers: Path | None
    progress: Progress

    def file(self, form: str, rows: int | None = None) -> Path:
        """A file of trips in a form (`.parquet`, `.csv`, `.csv.gz`), made where it is not there yet."""
        count = rows or self.rows
        path = self.folder / "data" / f"yellow_tripdata_{data.MONTH}.{count}{form}"
        if not path.exists():
            with self.progress.phase(f"{path.name} is made"):
                data.write(path, count)
        return path

    def race(self, contestants: list[Contestant]) -> list[Json]:
        """Let them do the work in turn; the figures of each."""
        return told(race(contestants, self.n, self.seed, self.progress))

    def worker(self, *verbs: str) -> list[str | Path]:
        """Command that does verbs of the library as a worker does."""
        return module("worker", *verbs)

    def peer(self, script: str, *arguments: str | Path) -> list[str | Path]:
        """Command that runs a peer's script in the peers' environment."""
        return [self.peers or "no-peers", PEERS / script, *arguments]

    def peer_program(self, name: str, *arguments: str | Path) -> list[str | Path]:
        """Command of a program that the peers' environment has installed."""
        return [(self.peers or Path("no-peers")).parent / name, *arguments]


def worker_variables(*more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: what the servers of the run are."""
    return {name: value for each in more for name, value in each.items()}


def module(name: str, *arguments: str | Path) -> list[str | Path]:
    """Command that runs a module of the benchmark in a process of its own."""
    return [sys.executable, "-W", "ignore", FOLDER, f"bench.{name}", *arguments]
