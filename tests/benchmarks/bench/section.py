"""What a section of the benchmark is given, and what it reports."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import data
from bench.measure import Contestant, race
from taxiway.console.progress import Progress

Json = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[1]
PEERS = FOLDER / "peers"


@dataclass(frozen=True)
class Bench:
    """One call of the benchmark. `peers` is the Python of their environment; None without peers.

    `compared` says whether peers that need no environment take part.
    An idle platform is watched for `seconds`; `partitions` are the small ones of `years`.
    """

    folder: Path
    rows: int
    n: int
    seed: int
    peers: Path | None
    progress: Progress
    seconds: int = 60
    compared: bool = True
    partitions: int = 1000

    def file(self, form: str, rows: int | None = None) -> Path:
        """A file of trips in a form (`.parquet`, `.csv`, `.csv.gz`), written at the first call."""
        count = rows or self.rows
        path = self.folder / "data" / f"yellow_tripdata_{data.MONTH}.{count}{form}"
        if not path.exists():
            with self.progress.phase(f"{path.name} is written"):
                data.write(path, count)
        return path

    def race(self, contestants: list[Contestant]) -> list[Json]:
        """Let them do the work in turn; the figures of each."""
        return [result.as_json() for result in race(contestants, self.n, self.seed, self.progress)]

    def peer(self, script: str, *arguments: str | Path) -> list[str | Path]:
        """Command that runs a peer's script in the peers' environment."""
        return [self.peers or "no-peers", PEERS / script, *arguments]

    def peer_program(self, name: str, *arguments: str | Path) -> list[str | Path]:
        """Command of a program that the peers' environment has installed."""
        return [(self.peers or Path("no-peers")).parent / name, *arguments]


def process(name: str, *arguments: str | Path) -> list[str | Path]:
    """Command of one of `bench.tasks`, or of another module of the benchmark, in a process of its own."""
    return [sys.executable, "-W", "ignore", FOLDER, f"bench.{name}", *arguments]


def worker(*stages: str) -> list[str | Path]:
    """Command that runs stages of the library as a worker does."""
    return process("tasks", "stages", *stages)


@dataclass(frozen=True)
class Target:
    """A figure that is to be reached; `value` is None if it could not be measured."""

    text: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it is: a figure that was not measured never is."""
        if self.value is None:
            return False
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def as_json(self) -> Json:
        """As the report has it."""
        bound = {"at_least": self.at_least} if self.at_least is not None else {"at_most": self.at_most}
        return {"text": self.text, "value": self.value, **bound, "reached": self.reached}


@dataclass(frozen=True)
class Section:
    """Figures of one section. `unit` is what a rate counts; `facts` are figures of another sort."""

    unit: str
    contestants: Sequence[Mapping[str, Any]] = ()
    targets: Sequence[Target] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> Json:
        """As the report has it."""
        return {
            "unit": self.unit,
            "contestants": list(self.contestants),
            **ratios(self.contestants),
            "targets": [target.as_json() for target in self.targets],
            **self.facts,
        }


def peak_of(contestants: Iterable[Mapping[str, Any]], key: str = "peak_rss_mb") -> float | None:
    """The highest memory of ours in MB."""
    return max((c[key] for c in contestants if c["role"] == "ours" and "rate" in c), default=None)


def ratios(contestants: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Ours to the limit, and to the best peer, of the same race; None if one of the two has not finished."""
    best = {
        role: max((c["rate"] for c in contestants if c["role"] == role and "rate" in c), default=None)
        for role in ("ours", "limit", "peer")
    }

    def to(role: str) -> float | None:
        ours, other = best["ours"], best[role]
        return ours / other if ours and other else None

    return {"ratio_to_limit": to("limit"), "ratio_to_best_peer": to("peer")}
