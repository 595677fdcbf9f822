"""The peak memory of each verb for one month of the sample source, each in a process of its own.

    PYTHONPATH=plugins:scripts:tests/support .venv/bin/python tests/support/memory.py fhvhv 2024-01 20000000

A month of real size takes minutes to generate: `--cache` keeps it.
"""

# ruff: noqa: T201 - a command line

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import emulators
import taxi

from elt.settings import Settings

VERBS = ("download", "conform", "stage", "audit", "publish", "mart", "ingest")
# The process reports on itself: what the kernel counts for a child includes its parent before the exec.
CALL = """
import json, sys, time
from nyc_taxi import pipeline
from elt.settings import Settings
started, used = time.perf_counter(), time.process_time()
done = getattr(pipeline, sys.argv[1])(sys.argv[2], sys.argv[3], "measured", Settings.from_environment())
seconds, used = time.perf_counter() - started, time.process_time() - used
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
json.dump([sys.argv[1], done.get("rows"), done.get("bytes"), peak, seconds, used], sys.stdout)
"""


class Measured(NamedTuple):
    """What a verb took; `bytes` is the size of the object it read or wrote."""

    verb: str
    rows: int | None
    bytes: int | None
    peak_mb: float
    seconds: float
    cpu_seconds: float


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("month")
    parser.add_argument("rows", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--verbs", nargs="*", default=VERBS)
    asked = parser.parse_args()
    print("| verb | rows | bytes | peak MB | seconds | CPU seconds |\n|---|---|---|---|---|---|", flush=True)
    for found in measure(asked.dataset, asked.month, asked.rows, asked.verbs, asked.cache):
        facts = (fact if isinstance(fact, str) else f"{fact or 0:,.0f}" for fact in found)
        print("|", " | ".join(facts), "|", flush=True)


def measure(
    dataset: str, month: str, rows: int, verbs: Sequence[str] = VERBS, cache: Path | None = None
) -> Iterator[Measured]:
    """Run the verbs one after the other against emulators and a PostgreSQL of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ("--cache", str(cache or folder / "source"), "--rows", str(rows))
        for part in ("postgres", "emulators"):
            (folder / part).mkdir()
        with (
            emulators.running(folder / "emulators") as cloud,
            emulators.Service("tlc_sample", folder, options) as source,
            taxi.postgres_running(folder / "postgres") as server,
        ):
            source.wait_until_healthy()
            stack = replace(taxi.new_stack(cloud, source.url), postgres_dsn=taxi.new_database(server))
            for verb in verbs:
                yield call(verb, dataset, month, os.environ | variables(stack))


def variables(stack: Settings) -> dict[str, str]:
    """The settings as a task finds them."""
    found = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "GCP_PROJECT_ID": stack.project,
        "GCP_GCS_BUCKET": stack.bucket,
        "BIGQUERY_DATASET": stack.dataset,
        "GCP_LOCATION": stack.location,
        "TLC_BASE_URL": stack.source_url,
        "STORAGE_EMULATOR_HOST": stack.storage_endpoint,
        "BIGQUERY_EMULATOR_HOST": stack.bigquery_endpoint,
        "TAXI_POSTGRES_DSN": stack.postgres_dsn,
    }
    return {name: value for name, value in found.items() if value}


def call(verb: str, dataset: str, month: str, environment: Mapping[str, str], tries: int = 5) -> Measured:
    """Call a verb as a task does, again where the source or the warehouse is slow to answer."""
    command = [sys.executable, "-c", CALL, verb, dataset, month]
    for attempt in range(tries):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return Measured(*json.loads(done.stdout))
        print(f"{verb}, attempt {attempt + 1}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        time.sleep(5)
    raise AssertionError(f"{verb} failed {tries} times: {done.stderr}")


if __name__ == "__main__":
    main()
