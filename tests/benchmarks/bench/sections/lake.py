"""A published file into the lake: the verb `download`, against curl from the same source to the same sink."""

from __future__ import annotations

import shutil
from pathlib import Path

import requests

from bench import data
from bench.bench import Bench, worker_variables
from bench.contest import Contestant, Wrong
from bench.processes import Run
from bench.section import Section, Target, peak_of, ratios
from bench.services import cloud, ends

TITLE = "HTTP → lake"
# A month of the busiest dataset: long enough to be a rate.
_TIMES = 10


def run(bench: Bench) -> Section:
    """Race them, in bytes."""
    file = bench.file(".parquet", bench.rows * _TIMES)
    with cloud(bench.folder) as emulators, ends(bench.folder, file) as (source, sink):
        variables = {**emulators.variables, "STORAGE_EMULATOR_HOST": sink, "TLC_BASE_URL": source}
        contestants = bench.race(_contestants(bench, file, source, sink, variables))
    found = ratios(contestants)
    targets = [
        Target("of curl to curl", found["ratio_to_limit"], at_least=0.5),
        Target("MB at most", peak_of(contestants), at_most=80),
    ]
    return Section("bytes/s", contestants, targets)


def _contestants(
    bench: Bench, file: Path, source: str, sink: str, variables: dict[str, str]
) -> list[Contestant]:
    size, checksum = file.stat().st_size, data.checksum(file)

    def arrived(done: Run) -> None:
        with requests.Session() as http:
            http.trust_env = False
            last = http.get(f"{sink}/last", timeout=10).json()
        if last.get("bytes") != size:
            raise Wrong(f"{last.get('bytes')} of {size} bytes arrived")
        if "verbs" in done.said and last["metadata"]["checksum"] != checksum:
            raise Wrong("the checksum kept with the object is not the file's")

    found = [
        Contestant(
            "taxiway download (in a worker)", "ours", bench.worker("download"), size,
            worker_variables(variables), check=arrived,
        )
    ]  # fmt: skip
    if shutil.which("curl"):
        headers = f"-H Expect: -H Transfer-Encoding: -H 'Content-Length: {size}'"
        send = f"curl -sf -o /dev/null {headers} -T - {sink}/limit"
        pipe = f"curl -sf {source}/file | {send}"
        found.append(Contestant("curl to curl", "limit", ["sh", "-c", pipe], size, check=arrived))
    if bench.peers:
        found.append(
            Contestant(
                "the whole file in memory (requests)",
                "peer",
                bench.peer("lake_requests.py", f"{source}/file", f"{sink}/peer"),
                size,
                check=arrived,
            )
        )
    return found
