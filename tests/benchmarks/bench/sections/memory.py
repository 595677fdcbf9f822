"""Peak memory of each stage for one, three and ten times the rows: it must not follow the file."""

from __future__ import annotations

from pathlib import Path

from bench import files
from bench.bench import Bench, worker_variables
from bench.processes import CommandFailed, Run
from bench.processes import run as run_once
from bench.section import Json, Section, Target
from bench.services import Cloud, Database, cloud, ends, postgres

TITLE = "Memory"
_SIZES = (1, 3, 10)
_STAGES = ("download", "conform", "ingest")


def run(bench: Bench) -> Section:
    """Run every stage once for each size: memory does not depend on how busy the machine is."""
    peaks: dict[str, dict[int, float]] = {stage: {} for stage in _STAGES}
    last: dict[str, Run] = {}
    with postgres(bench.folder) as database, cloud(bench.folder) as emulators:
        for times in _SIZES:
            file = bench.file(".parquet", bench.rows * times)
            for stage in _STAGES:
                try:
                    done = _measure(bench, stage, file, emulators, database)
                except CommandFailed as error:
                    bench.progress.say(f"{stage} at {times} times: {error}", "failed")
                    continue
                peaks[stage][times], last[stage] = done.peak_rss_mb, done
                bench.progress.say(f"{stage:9} {times:3} times  {done.peak_rss_mb:6.0f} MB", "done")
    rows = bench.rows * _SIZES[-1]
    contestants = [_told(stage, peaks[stage], rows, last[stage]) for stage in _STAGES if stage in last]
    return Section(
        "rows/s", contestants, [_flat(stage, peaks[stage]) for stage in _STAGES], {"peaks_mb": peaks}
    )


def _measure(bench: Bench, stage: str, file: Path, emulators: Cloud, database: Database) -> Run:
    """Run one stage. A download goes to a bucket that keeps nothing, others read the real one."""
    variables = {**emulators.variables, "TAXI_POSTGRES_DSN": database.dsn}
    if stage == "download":
        with ends(bench.folder, file) as (source, sink):
            more = {"STORAGE_EMULATOR_HOST": sink, "TLC_BASE_URL": source}
            return run_once(bench.worker(stage), worker_variables(variables, more))
    if stage == "conform":
        files.put_raw(emulators, file)
    return run_once(bench.worker(stage), worker_variables(variables))


def _told(stage: str, peaks: dict[int, float], rows: int, largest: Run) -> Json:
    """Rate and CPU seconds are those of the largest file."""
    return {
        "name": f"taxiway {stage}",
        "role": "ours",
        "rate": rows / largest.seconds,
        "cpu_s": largest.cpu_s,
        "peak_rss_mb": max(peaks.values()),
        "runs": len(peaks),
    }


def _flat(stage: str, peaks: dict[int, float]) -> Target:
    """How much the largest file takes more than the smallest one."""
    complete = len(peaks) == len(_SIZES)
    growth = max(peaks.values()) / min(peaks.values()) if complete else None
    return Target(f"{stage}: highest to lowest peak, one to ten times the rows", growth, at_most=1.1)
