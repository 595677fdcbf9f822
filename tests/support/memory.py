"""The peak memory of each verb for one month of the sample source, each in a process of its own.

    PYTHONPATH=plugins:scripts:tests/support .venv/bin/python tests/support/memory.py fhvhv 2024-01 20000000

A month of real size takes minutes to generate: `--cache` keeps it.
"""

# ruff: noqa: T201 - a command line
import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import emulators
import taxi

VERBS = ("download", "conform", "stage", "audit", "publish", "mart", "ingest")
# The process reports on itself: what the kernel counts for a child includes its parent before the exec.
CALL = """
import sys, time
from nyc_taxi import pipeline
from nyc_taxi.settings import Settings
started, used = time.perf_counter(), time.process_time()
done = getattr(pipeline, sys.argv[1])(sys.argv[2], sys.argv[3], "measured", Settings.from_environment())
seconds, used = time.perf_counter() - started, time.process_time() - used
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
times = (f"{number:.0f}" for number in (peak, seconds, used))
facts = (sys.argv[1], done.get("rows", ""), done.get("bytes", ""), *times)
print("|", *(f"{fact} |" for fact in facts))
"""


def main() -> None:
    """Print a table: verb, rows, bytes of the object read, peak MB, seconds, CPU seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("month")
    parser.add_argument("rows", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--verbs", nargs="*", default=VERBS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, Path(folder))


def measure(asked: argparse.Namespace, folder: Path) -> None:
    """Run the verbs one after the other against emulators and a PostgreSQL of their own."""
    options = ("--cache", str(asked.cache or folder / "source"), "--rows", str(asked.rows))
    for name in ("postgres", "emulators"):
        (folder / name).mkdir()
    with (
        emulators.running(folder / "emulators") as cloud,
        emulators.Service("sample_source", folder, options) as source,
        taxi.postgres_running(folder / "postgres") as server,
    ):
        source.wait_until_healthy()
        stack = replace(taxi.new_stack(cloud, source.url), postgres_dsn=taxi.new_database(server))
        variables = {
            "GCP_PROJECT_ID": stack.project,
            "GCP_GCS_BUCKET": stack.bucket,
            "BIGQUERY_DATASET": stack.dataset,
            "GCP_LOCATION": stack.location,
            "TLC_BASE_URL": stack.source_url,
            "STORAGE_EMULATOR_HOST": stack.storage_endpoint,
            "BIGQUERY_EMULATOR_HOST": stack.bigquery_endpoint,
            "TAXI_POSTGRES_DSN": stack.postgres_dsn,
        }
        print(
            "| verb | rows | bytes | peak MB | seconds | CPU seconds |\n|---|---|---|---|---|---|", flush=True
        )
        for verb in asked.verbs:
            call(verb, asked, os.environ | variables)


def call(verb: str, asked: argparse.Namespace, environment: dict[str, str], tries: int = 5) -> None:
    """Call a verb as a task does, again where the source or the warehouse is slow to answer."""
    command = [sys.executable, "-c", CALL, verb, asked.dataset, asked.month]
    for attempt in range(tries):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        print(done.stdout, end="", flush=True)
        if done.returncode == 0:
            return
        print(
            f"{verb}, attempt {attempt + 1}: {done.stderr.strip().splitlines()[-1]}",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(5)
    sys.exit(1)


if __name__ == "__main__":
    main()
