"""What the library does, beside its limits and its peers: Postgres, lake, conform, warehouse, memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from bench import data
from bench.billing import bill
from bench.data import Facts
from bench.measure import CommandFailedError, Contestant, Role, Run, WrongResultError
from bench.measure import run as run_once
from bench.section import Bench, Json, Section, Target, peak_of, process, ratios, worker
from bench.servers import Cloud, Database, cloud, ends, postgres
from bench.wide import wide_rows
from elt.catalogue.registry import dataset

# The slow ones get a part of the rows, or they would take the whole afternoon.
_SLOW_SHARE = 20
_OURS = "taxiway postgres (in a worker)"
# A month of the busiest dataset: long enough to be a rate.
_MONTH_OF_FHVHV = 10
_LIBRARIES = ("pandas", "polars", "duckdb", "pyarrow")
_SIZES = (1, 3, 10)
_MEASURED = ("download", "conform", "postgres")


def load_postgres(bench: Bench) -> Section:
    """Rows into PostgreSQL: the stage as a worker runs it, against what the server can take at all."""
    with postgres(bench.folder) as database, cloud(bench.folder) as emulators:
        arena = _Tables(bench, database, emulators)
        contestants = bench.race(arena.contestants())
    found = ratios(contestants)
    whole = next((c["whole_rate"] for c in contestants if c["name"] == _OURS and "rate" in c), None)
    limit = next((c["rate"] for c in contestants if c["role"] == "limit" and "rate" in c), None)
    whole_ratio = whole / limit if whole and limit else None
    targets = [
        Target("of the limit, in a running worker", found["ratio_to_limit"], at_least=1.0),
        Target("of the limit, with the start of the process", whole_ratio, at_least=0.9),
        Target("times the best peer", found["ratio_to_best_peer"], at_least=1.4),
        Target("MB of its own (private pages)", peak_of(contestants, key="private_mb"), at_most=150),
    ]
    return Section("rows/s", contestants, targets, {"whole_ratio_to_limit": whole_ratio})


class _Tables:
    """The contestants, and the tables and files they need."""

    def __init__(self, bench: Bench, database: Database, emulators: Cloud) -> None:
        self._bench, self._database, self._cloud = bench, database, emulators
        self._file = bench.file(".parquet")
        self._few = bench.file(".parquet", max(bench.rows // _SLOW_SHARE, 1000))
        self._facts, self._few_facts = data.facts(self._file), data.facts(self._few)
        data.put_raw(emulators.variables, self._file)

    def contestants(self) -> list[Contestant]:
        """Everybody; peers only with their environment."""
        columns = ", ".join(column.name for column in dataset("yellow").columns)
        binary = data.copy_file(self._file, self._bench.folder / "data")
        plain = self._bench.file(".csv")
        copy = f"\\copy limit_binary ({columns}) from '{binary}' (format binary)"
        frozen = (
            f"begin; truncate limit_frozen; copy limit_frozen ({columns}) from stdin (format binary, freeze);"
            " commit"
        )
        everybody = [
            Contestant(
                _OURS, "ours", worker("postgres"), self._facts.rows,
                {**self._cloud.variables, **self._database.connection},
                check=lambda _: self._check("yellow_trips", self._facts), servers=[self._database.pid],
            ),
            self._psql(r"\copy of a ready binary file", "limit", "limit_binary", copy),
            self._psql(
                "the same, frozen in one transaction", "note", "limit_frozen", frozen, stdin=binary
            ),
            self._psql(
                r"\copy of a CSV file", "peer", "peer_csv",
                f"\\copy peer_csv from '{plain}' (format csv, header)",
                columns=data.published_columns(self._file),
            ),
        ]  # fmt: skip
        return everybody + (self._peers() if self._bench.peers else [])

    def _psql(
        self, name: str, role: Role, table: str, command: str, columns: str = "", stdin: Path | None = None
    ) -> Contestant:
        def prepare() -> None:
            made = columns or data.typed_columns(dataset("yellow"))
            self._database.execute(
                f"DROP TABLE IF EXISTS {table}", f"CREATE TABLE {table} ({made})", "CHECKPOINT"
            )

        words = self._database.psql(command)
        if stdin:
            words = ["sh", "-c", 'exec "$0" "$@" < ' + f"'{stdin}'", *words]
        return Contestant(
            name, role, words, self._facts.rows, self._database.variables, prepare,
            lambda _: self._check(table, self._facts), [self._database.pid],
        )  # fmt: skip

    def _peers(self) -> list[Contestant]:
        dsn = {"PEER_DSN": self._database.url, "DLT_DATA_DIR": str(self._bench.folder / "dlt")}
        bench, file, few = self._bench, self._file, self._few
        ingestr = [
            "ingest", "--yes", "--progress", "log", "--no-load-timestamp",
            "--source-uri", f"parquet://{file}", "--source-table", "trips",
            "--dest-table", "public.peer_ingestr",
        ]  # fmt: skip
        return [
            self._peer("ADBC", bench.peer("postgres_adbc.py", file), "peer_adbc", self._facts, dsn),
            self._peer("dlt", bench.peer("postgres_dlt.py", few), "dlt.peer_dlt", self._few_facts, dsn),
            self._peer(
                "pandas, to_sql by chunks (the zoomcamp's)", bench.peer("postgres_pandas.py", few),
                "peer_pandas", self._few_facts, dsn,
            ),
            self._peer(
                "ingestr", bench.peer_program("ingestr", *ingestr), "peer_ingestr", self._facts,
                {"DESTINATION_URI": self._database.url, "DISABLE_TELEMETRY": "true"},
            ),
        ]  # fmt: skip

    def _peer(
        self, name: str, command: list[str | Path], table: str, facts: Facts, environment: dict[str, str]
    ) -> Contestant:
        def prepare() -> None:
            self._database.forget(table, self._bench.folder / "dlt")

        def check(_: Run) -> None:
            self._check(table, facts)

        return Contestant(
            name, "peer", command, facts.rows, environment, prepare, check, [self._database.pid]
        )

    def _check(self, table: str, expected: Facts) -> None:
        found = self._database.facts(table)
        if not found.agrees(expected):
            raise WrongResultError(f"{table} has {found}; the file has {expected}")


def fill_lake(bench: Bench) -> Section:
    """A published file into the lake, against curl from the same source to the same sink."""
    file = bench.file(".parquet", bench.rows * _MONTH_OF_FHVHV)
    with cloud(bench.folder) as emulators, ends(bench.folder, file) as (source, sink):
        contestants = bench.race(
            _transfers(bench, file, source, sink, {**emulators.variables, **_between(source, sink)})
        )
    found = ratios(contestants)
    targets = [
        Target("of curl to curl", found["ratio_to_limit"], at_least=0.8),
        Target("MB of its own (private pages)", peak_of(contestants, key="private_mb"), at_most=80),
    ]
    return Section("bytes/s", contestants, targets)


def _transfers(
    bench: Bench, file: Path, source: str, sink: str, variables: dict[str, str]
) -> list[Contestant]:
    size, checksum = file.stat().st_size, data.checksum(file)

    def arrived(done: Run) -> None:
        with requests.Session() as http:
            http.trust_env = False
            last = http.get(f"{sink}/last", timeout=10).json()
        if last.get("bytes") != size:
            raise WrongResultError(f"{last.get('bytes')} of {size} bytes arrived")
        if "stages" in done.report and last["metadata"]["checksum"] != checksum:
            raise WrongResultError("the checksum kept with the object is not the file's")

    found = [
        Contestant(
            "taxiway download (in a worker)", "ours", worker("download"), size,
            variables, check=arrived,
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


def _between(source: str, sink: str) -> dict[str, str]:
    """The variables of a download from one end to the other."""
    return {"STORAGE_EMULATOR_HOST": sink, "AIRFLOW_CONN_TAXI_SOURCE": source}


def conform(bench: Bench) -> Section:
    """A raw file as typed Parquet, from compressed CSV and from Parquet, against other libraries."""
    packed = bench.race(_Conversions(bench, ".csv.gz").contestants())
    columnar = bench.race(_Conversions(bench, ".parquet").contestants())
    from_csv, from_parquet = ratios(packed), ratios(columnar)
    targets = [
        Target("times the best peer, from CSV.gz", from_csv["ratio_to_best_peer"], at_least=1.3),
        Target("times the best peer, from Parquet", from_parquet["ratio_to_best_peer"], at_least=1.0),
        Target("MB at most", max(filter(None, map(peak_of, (packed, columnar))), default=None), at_most=250),
    ]
    facts = {"from_csv_gz": from_csv, "from_parquet": from_parquet}
    return Section("rows/s", [*_named(packed, "CSV.gz"), *_named(columnar, "Parquet")], targets, facts)


def _named(contestants: list[Json], form: str) -> list[Json]:
    return [{**found, "name": f"{found['name']}, {form}", "group": form} for found in contestants]


@dataclass(frozen=True)
class _Conversions:
    bench: Bench
    form: str

    def contestants(self) -> list[Contestant]:
        """Ours, the libraries, and for Parquet what pyarrow needs for the copy alone."""
        out = self.bench.folder / "typed.parquet"
        file, facts = self.bench.file(self.form), data.facts(self.bench.file(".parquet"))
        ours: list[str | Path] = process("tasks", "conform", file, out)
        found = [self._one("taxiway conform", "ours", ours, out, facts)]
        if self.form == ".parquet":
            plain: list[str | Path] = process("tasks", "copy", file, out)
            found.append(self._one("pyarrow, read and written by row group", "limit", plain, out, facts))
        if self.bench.peers:
            found += [
                self._one(name, "peer", self.bench.peer(f"conform_{name}.py", file, out), out, facts)
                for name in _LIBRARIES
            ]
        return found

    def _one(
        self, name: str, role: Role, command: list[str | Path], out: Path, expected: Facts
    ) -> Contestant:
        def check(_: Run) -> None:
            found = data.facts(out)
            if not found.agrees(expected):
                raise WrongResultError(f"it has {found}; the file has {expected}")

        return Contestant(name, role, command, expected.rows, {}, lambda: out.unlink(missing_ok=True), check)


def load_warehouse(bench: Bench) -> Section:
    """The three stages of the warehouse, against the load job that the emulator itself needs.

    What Google's own would be asked for and bill is counted, not measured.
    """
    file = bench.file(".parquet")
    with cloud(bench.folder) as emulators:
        data.put_raw(emulators.variables, file)
        run_once(worker("conform"), emulators.variables)
        contestants = bench.race(_loads(emulators, data.facts(file).rows))
    ratio = ratios(contestants)["ratio_to_limit"]
    asked = bill(dataset("yellow"), data.columns(file), bench.rows)
    return Section("rows/s", contestants, [Target("of the load job alone", ratio, at_least=0.7)], asked)


def _loads(emulators: Cloud, rows: int) -> list[Contestant]:
    def check(done: Run) -> None:
        found = {stage: facts["returned"]["rows"] for stage, facts in done.report["stages"].items()}
        if set(found.values()) != {rows}:
            raise WrongResultError(f"{found}; the file has {rows} rows")

    def check_load(done: Run) -> None:
        if done.report.get("rows") != rows:
            raise WrongResultError(f"{done.report.get('rows')} rows; the file has {rows}")

    return [
        Contestant(
            "taxiway stage, audit, publish (in a worker)", "ours", worker("stage", "audit", "publish"),
            rows, emulators.variables, check=check, servers=emulators.pids,
        ),
        Contestant(
            "a load job of the same object", "limit", process("tasks", "load"), rows, emulators.variables,
            check=check_load,
            servers=emulators.pids,
        ),
    ]  # fmt: skip


def use_memory(bench: Bench) -> Section:
    """Peak memory of each stage for one, three and ten times the rows: it must not follow the file.

    Every stage runs once for each size: memory does not depend on how busy the machine is. So do small files
    that unpack large, which DuckDB copies beside.
    """
    peaks: dict[str, dict[int, float]] = {stage: {} for stage in _MEASURED}
    last: dict[str, Run] = {}
    with postgres(bench.folder) as database, cloud(bench.folder) as emulators:
        for times in _SIZES:
            file = bench.file(".parquet", bench.rows * times)
            for stage in _MEASURED:
                try:
                    done = _measure(bench, stage, file, emulators, database)
                except CommandFailedError as error:
                    bench.progress.say(f"{stage} at {times} times: {error}", "failed")
                    continue
                peaks[stage][times], last[stage] = done.peak_rss_mb, done
                bench.progress.say(f"{stage:9} {times:3} times  {done.peak_rss_mb:6.0f} MB", "done")
    rows = bench.rows * _SIZES[-1]
    contestants = [_largest(stage, peaks[stage], rows, last[stage]) for stage in _MEASURED if stage in last]
    wide, bound = wide_rows(bench)
    targets = [*(_flat(stage, peaks[stage]) for stage in _MEASURED), bound]
    return Section("rows/s", [*contestants, *wide], targets, {"ratio_to_best_peer": None, "peaks_mb": peaks})


def _measure(bench: Bench, stage: str, file: Path, emulators: Cloud, database: Database) -> Run:
    """Run one stage. A download goes to a bucket that keeps nothing; the others read the emulator's."""
    variables: Mapping[str, str] = {**emulators.variables, **database.connection}
    if stage == "download":
        with ends(bench.folder, file) as (source, sink):
            return run_once(worker(stage), {**variables, **_between(source, sink)})
    if stage == "conform":
        data.put_raw(emulators.variables, file)
    return run_once(worker(stage), variables)


def _largest(stage: str, peaks: dict[int, float], rows: int, largest: Run) -> Json:
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
