"""The peak memory of each stage for one month of the sample source, each in a process of its own.

    PYTHONPATH=tests/support .venv/bin/python tests/support/memory.py fhvhv 2024-01 20000000

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
from pathlib import Path
from typing import NamedTuple

import emulators

import stacks
from elt.stages import STAGES

# The process reports on itself: what the kernel counts for a child includes its parent before the exec.
CALL = """
import json, sys, time
from elt.catalogue.registry import dataset
from elt.connections import EnvironmentConnections
from elt.periods import Month
from elt.stage_request import StageRequest
from elt.stages import run
started, used, connections = time.perf_counter(), time.process_time(), EnvironmentConnections()
request = StageRequest(dataset(sys.argv[2]), Month.parse(sys.argv[3]), "measured", connections.settings)
done = run(sys.argv[1], request, connections)
seconds, used = time.perf_counter() - started, time.process_time() - used
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
json.dump([sys.argv[1], done.get("rows"), done.get("bytes"), peak, seconds, used], sys.stdout)
"""


class Measured(NamedTuple):
    """What a stage took; `bytes` is the size of the object it read or wrote."""

    stage: str
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
    parser.add_argument("--stages", nargs="*", default=tuple(STAGES))
    asked = parser.parse_args()
    print("| stage | rows | bytes | peak MB | seconds | CPU seconds |\n|---|---|---|---|---|---|", flush=True)
    for found in measure(asked.dataset, asked.month, asked.rows, asked.stages, asked.cache):
        facts = (fact if isinstance(fact, str) else f"{fact or 0:,.0f}" for fact in found)
        print("|", " | ".join(facts), "|", flush=True)


def measure(
    dataset: str, month: str, rows: int, stages: Sequence[str] = tuple(STAGES), cache: Path | None = None
) -> Iterator[Measured]:
    """Run the stages one after the other against emulators and a PostgreSQL of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ("--cache", str(cache or folder / "source"), "--rows", str(rows))
        for part in ("postgres", "emulators"):
            (folder / part).mkdir()
        with (
            emulators.running(folder / "emulators") as cloud,
            emulators.Service("tlc_sample", folder, options) as source,
            stacks.postgres_running(folder / "postgres") as server,
        ):
            source.wait_until_healthy()
            stack = stacks.new_stack(cloud, source.url).with_postgres(stacks.new_database(server))
            for stage in stages:
                yield call(stage, dataset, month, os.environ | dict(stack.variables))


def call(stage: str, dataset: str, month: str, environment: Mapping[str, str], tries: int = 5) -> Measured:
    """Run a stage as a task does, again where the source or the warehouse is slow to answer."""
    command = [sys.executable, "-c", CALL, stage, dataset, month]
    for attempt in range(tries):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return Measured(*json.loads(done.stdout))
        print(f"{stage}, attempt {attempt + 1}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        time.sleep(5)
    raise AssertionError(f"{stage} failed {tries} times: {done.stderr}")


if __name__ == "__main__":
    main()
