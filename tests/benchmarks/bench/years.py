"""Years of small partitions: many days through lake, warehouse and Postgres, with a kill in the middle.

The first call is killed (SIGKILL) when a part is loaded, with the workers of Airflow that are at work; the
second goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import psutil

from bench import platform
from bench.history import held
from bench.measure import MEGABYTE
from bench.section import Bench, Json, Section, Target
from elt.periods import Day, Span
from taxiway.console.progress import Progress
from taxiway.environment.home import REPOSITORY
from taxiway.loads.runner import WINDOW
from taxiway.waiting import Patience

ROWS = 200
FIRST = Day(2021, 1, 1)
# Loaded one by one as a comparison: so few are never loaded together.
ALONE = WINDOW
# What the first call may load before it is killed.
_PART = 0.4
_DONE = re.compile(r"done \((\d+) of \d+")
PACKAGE = REPOSITORY / "plugins" / "bench_years"
_FILES = {
    "__init__.py": '"""Days of the benchmark: made, and removed, by `scripts/bench years`."""\n',
    "datasets/__init__.py": "",
    "datasets/rides.py": """
        from elt.catalogue import STANDARD_AUDITS, Column, Dataset, Day, Feed

        RIDES = Dataset(
            "bench_rides", "Rides", "file://{folder}/rides_{{year}}-{{month}}-{{day}}.csv", "bench_rides",
            "at",
            (
                Column("at", "timestamp", "When."),
                Column("station", "int64", "Where."),
                Column("fare", "numeric", "Money."),
                Column("note", "string", "Text.", required=False),
            ),
            first=Day(2021, 1, 1), audits=STANDARD_AUDITS,
            feeds=(Feed("bench_takings", {{"station": "station", "fare": "fare"}}),),
        )
        """,
    "marts.py": """
        from elt.catalogue import Column, Mart

        TAKINGS = Mart("bench_takings", "Takings by station", (
            Column("station", "int64", "Where."), Column("fares", "numeric", "Money."),
        ))
        """,
    "sql/marts/bench_takings.sql": """
        INSERT INTO ${{mart}} (dataset, source_day, station, fares)
        SELECT @dataset, @source_day, ${{station}} AS station, SUM(${{fare}}) AS fares
        FROM ${{source}} WHERE source_day = @source_day GROUP BY station
        """,
    "sql/postgres/bench_takings.sql": """
        SELECT '${{dataset}}' AS dataset, source_day, ${{station}} AS station, sum(${{fare}}) AS fares
        FROM ${{source}} GROUP BY 2, 3
        """,
    "sql/views/bench_takings.sql": "SELECT dataset, source_day, station, fares FROM ${{mart}}\n",
}


def years(bench: Bench) -> Section:
    """Load days in two calls, the first of which is killed; then a few one by one, as before."""
    last, alone = FIRST.shift(bench.partitions - 1), FIRST.shift(bench.partitions)
    platform.down()
    with _described(bench.folder / "years", bench.partitions + ALONE), platform.running(), _watched() as peak:
        before = held()
        started = time.monotonic()
        loaded = _killed(f"{FIRST}..{last}", int(bench.partitions * _PART), bench.progress)
        bench.progress.say(
            f"killed with its workers after {time.monotonic() - started:.0f} s: {loaded} loaded"
        )
        with bench.progress.phase("the second call loads the rest"):
            platform.command("run", "bench_rides", f"{FIRST}..{last}")
        seconds = time.monotonic() - started
        after = held()
        started = time.monotonic()
        with bench.progress.phase(f"{ALONE} are loaded one by one"):
            platform.command("run", "bench_rides", f"{alone}..{alone.shift(ALONE - 1)}")
        single = (time.monotonic() - started) / ALONE
        states = _states(Span(FIRST, last))
    facts: Json = {
        "partitions": bench.partitions,
        "rows_each": ROWS,
        "minutes": seconds / 60,
        "loaded_before_the_kill": loaded,
        "states": states,
        "one_by_one_s_each": single,
        "one_by_one_minutes_reckoned": single * bench.partitions / 60,
        "tasks": after["task_instances"] - before["task_instances"],
        "metadata": {"before": before, "after": after},
        "peak_mb": dict(sorted(peak.items())),
        "load_average": os.getloadavg()[1],
    }
    whole = states == {"loaded": bench.partitions}
    ours = {"name": "taxiway run, killed once", "role": "ours", "rate": 60 * bench.partitions / seconds}
    reckoned = seconds / bench.partitions * 1000 / 60 if whole else None
    return Section(
        "days/min", [ours], [Target("minutes for a thousand, reckoned", reckoned, at_most=10)], facts
    )


@contextlib.contextmanager
def _described(folder: Path, days: int) -> Iterator[None]:
    """A package of one dataset by days, and a file for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(days):
        day = FIRST.shift(number)
        lines = [
            f"{day}T{row % 24:02}:{row % 60:02}:00Z,{row % 20},{(number + row) % 97}.25,note {row}\n"
            for row in range(ROWS)
        ]
        (folder / f"rides_{day}.csv").write_text("at,station,fare,note\n" + "".join(lines))
    try:
        for name, text in _FILES.items():
            file = PACKAGE / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text).lstrip().format(folder=folder))
        yield
    finally:
        shutil.rmtree(PACKAGE, ignore_errors=True)


def _killed(span: str, enough: int, progress: Progress) -> int:
    """Start a load, and kill it and the workers at work once it says that `enough` days are done."""
    log = platform.HOME.root.parent / "_bench" / "killed.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "taxiway", "run", "bench_rides", span, "--stack", platform.STACK]
    found = 0
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "COLUMNS": "200"}
        )

    def soon() -> bool:
        nonlocal found
        now = max(map(int, _DONE.findall(log.read_text())), default=0)
        if now > found:
            progress.say(f"{now} are loaded")
        found = now
        return found >= enough or process.poll() is not None

    try:
        Patience(3600, every=1.0).until(soon, lambda: f"{found} days are loaded")
    finally:
        process.kill()
        process.wait(30)
    for worker in _tree():
        with contextlib.suppress(psutil.Error):
            name = " ".join(worker.cmdline())
            # One that is idle holds the lock of LocalExecutor's queue: without it no other gets a task.
            if name.startswith("airflow worker") and "<idle>" not in name:
                worker.kill()
    return found


def _states(span: Span) -> dict[str, int]:
    """How many days of a span are in which state."""
    found: dict[str, int] = {}
    for row in platform.answer("status", "--json")["datasets"]:
        if row["dataset"] == "bench_rides" and span.first <= Day.parse(row["period"]) <= span.last:
            found[row["state"]] = found.get(row["state"], 0) + 1
    return found


def _tree() -> list[psutil.Process]:
    root = platform.manager()
    return [root, *root.children(recursive=True)]


@contextlib.contextmanager
def _watched() -> Iterator[dict[str, float]]:
    """The highest memory (shared pages counted once) of all processes of a component, by its command; MB."""
    peak: dict[str, float] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(2.0):
            now: dict[str, float] = {}
            with contextlib.suppress(psutil.Error, OSError):
                for process in _tree():
                    with contextlib.suppress(psutil.Error, AttributeError):
                        name = _component(process.cmdline())
                        now[name] = now.get(name, 0) + process.memory_full_info().pss / MEGABYTE
            for name, size in now.items():
                peak[name] = max(size, peak.get(name, 0))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join(30)


def _component(command: list[str]) -> str:
    text = " ".join(command)
    known = (
        "emulators.bigquery", "emulators.gcs", "tlc_sample", "postgres", "api_server", "airflow worker",
        "airflow scheduler", "dag-processor", "triggerer", "supervisord",
    )  # fmt: skip
    return next((name for name in known if name in text), "other")
