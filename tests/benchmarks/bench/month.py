"""A month from HTTP to lake, warehouse, Postgres and marts by the platform, and by what a user would write.

A peer that does the same fills the three stores, without audits, quarantine or marts; one that fills Postgres
alone is shown and compared with nothing.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from bench import MONTH, data, platform
from bench.data import Facts
from bench.idle import uses
from bench.measure import Contestant, Run, Sampler, WrongResultError, cpu_of_tree, io_of_tree, race
from bench.section import Bench, Json, Section, Target, ratios
from bench.servers import BUCKET, DATASET, PROJECT, Cloud, Database, cloud, ends, postgres
from elt.catalogue.registry import dataset
from taxiway.emulators.tlc_sample.source import EDITION

# A month of the busiest dataset to one of yellow taxis.
_HIGH_VOLUME = 20 / 3
# The slow ones get a part of the rows, as a rate of so many a second allows.
_SLOW_SHARE = 30
_ALL = "lake, warehouse, Postgres"
_OTHER_MONTH = "2023-01"
_SUMS = "SELECT COUNT(*) AS n, SUM(total_amount) AS amount, SUM(trip_distance) AS distance FROM "


def month(bench: Bench) -> Section:
    """One month of the real size, and one of high volume."""
    found: list[Json] = []
    targets: list[Target] = []
    memory: Json = {}
    for title, rows in (("real size", bench.rows), ("high volume", int(bench.rows * _HIGH_VOLUME))):
        file = bench.file(".parquet", rows)
        ours, memory[title] = _platform(bench, file)
        those = [ours, *(_peers(bench, file, all_of_them=title == "real size") if bench.peers else [])]
        ratio = ratios(those)["ratio_to_best_peer"]
        targets.append(Target(f"times the best peer that fills all three stores, {title}", ratio, at_least=3))
        found += [{**one, "name": f"{one['name']}; {one.get('amount', rows):,.0f} rows"} for one in those]
    # The ratios are of one size each.
    facts = {"ratio_to_best_peer": None, "platform_mb_by_component_at_most": memory}
    return Section("rows/s", found, targets, facts)


def _platform(bench: Bench, file: Path) -> tuple[Json, Json]:
    """`scripts/run` of the month on a platform that has loaded another one; memory by component."""
    facts = data.facts(file)
    platform.down()
    with platform.running("--months", _OTHER_MONTH):
        # What the sample source would generate itself at the first request.
        cache = (
            platform.HOME.data("sample-source")
            / f"yellow_tripdata_{MONTH}.20000-rows.edition-{EDITION}.parquet"
        )
        shutil.copy(file, cache)
        root = platform.manager()
        cpu, (read, written) = cpu_of_tree(root.pid), io_of_tree(root.pid)
        with _Memory(root) as memory:
            _, done = platform.command("run", "yellow", MONTH)
        cpu, (read_after, written_after) = cpu_of_tree(root.pid) - cpu, io_of_tree(root.pid)
        for store in ("lake", "warehouse", "postgres"):
            _check_store(store, facts)
    ours = {
        "name": f"taxiway: {_ALL}, marts", "role": "ours",
        "rate": facts.rows / done.whole_s, "cpu_s": done.cpu_s, "server_cpu_s": cpu,
        "peak_rss_mb": sum(memory.peaks.values()), "amount": facts.rows, "runs": 1,
        "read_mb": done.io[0] + read_after - read, "written_mb": done.io[1] + written_after - written,
    }  # fmt: skip
    bench.progress.say(f"the platform: {facts.rows:,} rows in {done.whole_s:.1f} s", "done")
    return ours, dict(memory.peaks)


class _Memory(Sampler):
    """The components' highest memory, pages that processes share counted once."""

    seconds = 2.0

    def __init__(self, root: psutil.Process) -> None:
        super().__init__()
        self._root, self.peaks = root, dict[str, float]()

    def sample(self) -> None:
        """Look at all components once."""
        for name, use in uses(self._root).items():
            self.peaks[name] = max(self.peaks.get(name, 0.0), use.memory_mb)


def _check_store(store: str, expected: Facts) -> None:
    """Count and sum the month in one store of the platform."""
    entry = dataset("yellow")
    where = f"{entry.table} WHERE {entry.period_column} = '{MONTH}-01'"
    if store == "lake":
        year, number = MONTH.split("-")
        where = f"{entry.name} WHERE year = {int(year)} AND month = {int(number)}"
    (found,) = platform.answer("sql", "--on", store, "--format", "json", _SUMS + where)
    _agree(store, Facts(int(found["n"]), float(found["amount"]), float(found["distance"])), expected)


def _agree(where: str, found: Facts, expected: Facts) -> None:
    if not found.agrees(expected):
        raise WrongResultError(f"{where} has {found}; the file has {expected}")


def _peers(bench: Bench, file: Path, *, all_of_them: bool) -> list[Json]:
    """From the same source to a PostgreSQL with the platform's settings and to emulators without it."""
    few = bench.file(".parquet", max(bench.rows // _SLOW_SHARE, 1000))
    with (
        postgres(bench.folder) as database,
        cloud(bench.folder) as emulators,
        ends(bench.folder, file) as (source, _),
        ends(bench.folder, few) as (few_source, _),
    ):
        whole = _Peers(bench, database, emulators, source, file)
        contestants = whole.fast()
        if all_of_them:
            contestants += whole.dlt() + _Peers(bench, database, emulators, few_source, few).slow()
        found = [result.as_json() for result in race(contestants, 1, bench.seed, bench.progress)]
    # All of the command, as of the platform's; of a few rows without its imports, which more would outweigh.
    rows = data.facts(file).rows
    for one in found:
        if one.get("amount") == rows:
            one["rate"] = one["rate_min"] = one["rate_max"] = one["whole_rate"]
    return found


@dataclass(frozen=True)
class _Peers:
    """What a user would write, over one source."""

    bench: Bench
    database: Database
    cloud: Cloud
    source: str
    file: Path

    def fast(self) -> list[Contestant]:
        """ingestr alone, and after an upload and a load job."""
        there = self.bench.folder / "data" / "peers.parquet"
        ingestr = self._ingestr(f"{self.source}/trips.parquet")
        everything = _both(self._lake_and_warehouse(there), self._ingestr(f"parquet://{there}"))
        name = f"upload, load job, ingestr: {_ALL}"
        return [
            self._one("ingestr: Postgres alone", ingestr, "peer_ingestr"),
            self._one(name, everything, "peer_ingestr", three=True),
        ]

    def dlt(self) -> list[Contestant]:
        """The same file by dlt."""
        command = self.bench.peer("postgres_dlt.py", f"{self.source}/trips.parquet")
        return [self._one("dlt: Postgres alone", command, "dlt.peer_dlt")]

    def slow(self) -> list[Contestant]:
        """The zoomcamp's scripts."""
        there = self.bench.folder / "data" / "few-peers.parquet"
        address = f"{self.source}/trips.parquet"
        alone = self.bench.peer("postgres_pandas.py", address)
        everything = _both(self._lake_and_warehouse(there), self.bench.peer("postgres_pandas.py", there))
        return [
            self._one("the zoomcamp's script: Postgres alone", alone, "peer_pandas"),
            self._one(f"the zoomcamp's scripts: {_ALL}", everything, "peer_pandas", three=True),
        ]

    def _ingestr(self, address: str) -> list[str | Path]:
        return self.bench.peer_program(
            "ingestr", "ingest", "--yes", "--progress", "log", "--no-load-timestamp",
            "--source-uri", address, "--source-table", "trips", "--dest-table", "public.peer_ingestr",
        )  # fmt: skip

    def _lake_and_warehouse(self, there: Path) -> list[str | Path]:
        return self.bench.peer(
            "lake_warehouse.py", f"{self.source}/trips.parquet", there,
            self.cloud.storage, BUCKET, self.cloud.bigquery, PROJECT, DATASET,
        )  # fmt: skip

    def _one(self, name: str, command: list[str | Path], table: str, *, three: bool = False) -> Contestant:
        facts = data.facts(self.file)
        url = self.database.url
        environment = {
            "PEER_DSN": url, "DESTINATION_URI": url, "DISABLE_TELEMETRY": "true",
            "DLT_DATA_DIR": str(self.bench.folder / "dlt"),
        }  # fmt: skip

        def prepare() -> None:
            self.database.forget(table, self.bench.folder / "dlt")

        def check(_: Run) -> None:
            _agree(table, self.database.facts(table), facts)
            if three:
                _agree("the warehouse", _in_warehouse(self.cloud), facts)

        return Contestant(
            name, "peer" if three else "note", command, facts.rows, environment, prepare, check,
            (self.database.pid, *self.cloud.pids),
        )  # fmt: skip


def _both(first: Sequence[str | Path], second: Sequence[str | Path]) -> list[str | Path]:
    return ["sh", "-c", " && ".join(shlex.join(map(str, command)) for command in (first, second))]


def _in_warehouse(emulators: Cloud) -> Facts:
    with requests.Session() as http:
        http.trust_env = False
        answer = http.post(
            f"{emulators.bigquery}/bigquery/v2/projects/{PROJECT}/queries", timeout=60,
            json={"query": f"{_SUMS}{DATASET}.peer_trips", "useLegacySql": False},
        )  # fmt: skip
    rows, amount, distance = (cell["v"] for cell in answer.json()["rows"][0]["f"])
    return Facts(int(rows), float(amount), float(distance))
