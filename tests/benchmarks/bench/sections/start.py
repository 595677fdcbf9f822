"""From nothing to loaded tables: `scripts/up`, cold and with kept data, by phase."""

from __future__ import annotations

import statistics

from bench import platform
from bench.bench import Bench
from bench.platform import Started
from bench.processes import CommandFailed
from bench.section import Json, Section, Target

TITLE = "Start"
# A start takes half a minute: three of each tell enough.
_MOST = 3


def run(bench: Bench) -> Section:
    """Start cold, stop with the data kept, start warm, take it all down; again."""
    cold: list[Started] = []
    warm: list[Started] = []
    stops: list[float] = []
    downs: list[float] = []
    platform.down()
    try:
        for number in range(min(bench.n, _MOST)):
            for starts, ends, keep in ((cold, stops, ["--keep-data"]), (warm, downs, [])):
                starts.append(platform.up())
                bench.progress.say(f"{number + 1}  {_line(starts[-1])}", "done")
                ends.append(platform.down(*keep))
    except CommandFailed as error:
        bench.progress.say(f"{error}", "failed")
    finally:
        platform.down()
    facts = {"cold": _told(cold), "warm": _told(warm), "stop_s": _median(stops), "down_s": _median(downs)}
    targets = [
        Target("seconds to loaded tables, cold", _seconds(cold), at_most=30),
        Target("seconds to loaded tables, kept data", _seconds(warm), at_most=20),
    ]
    contestants = [
        {
            "name": f"taxiway up, {name}", "role": "ours",
            "rate": 1 / statistics.median(s.seconds for s in starts),
            "cpu_s": statistics.median(s.cpu_s for s in starts),
            "peak_rss_mb": max(s.memory_mb for s in starts), "runs": len(starts),
        }
        for name, starts in (("cold", cold), ("with kept data", warm))
        if starts
    ]  # fmt: skip
    return Section("starts/s", contestants, targets, facts)


def _line(start: Started) -> str:
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in start.phases.items())
    return f"{start.seconds:.1f} s, {start.cpu_s:.0f} CPU s ({parts})"


def _told(starts: list[Started]) -> Json:
    names = list(dict.fromkeys(name for start in starts for name in start.phases))
    return {
        "seconds": [start.seconds for start in starts],
        "phases": {
            name: statistics.median(s.phases[name] for s in starts if name in s.phases) for name in names
        },
    }


def _seconds(starts: list[Started]) -> float | None:
    return _median([start.seconds for start in starts])


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
