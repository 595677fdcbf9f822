"""Rows into PostgreSQL: the verb `ingest` as a worker runs it, against what the server can take at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench import data, files
from bench.bench import Bench, worker_variables
from bench.contest import Contestant, Wrong
from bench.data import Facts
from bench.processes import Run
from bench.section import Section, Target, peak_of, ratios
from bench.services import Cloud, Database, cloud, postgres
from elt.catalogue.registry import dataset

TITLE = "Parquet → PostgreSQL"
# The slow ones get a part of the rows, or they would take the whole afternoon.
_SLOW_SHARE = 20
_OURS = "taxiway ingest (in a worker)"


def run(bench: Bench) -> Section:
    """Race them."""
    with postgres(bench.folder) as database, cloud(bench.folder) as emulators:
        arena = _Arena(bench, database, emulators)
        contestants = bench.race(arena.contestants())
    found = ratios(contestants)
    whole = next((c["whole_rate"] for c in contestants if c["name"] == _OURS and "rate" in c), None)
    limit = next((c["rate"] for c in contestants if c["role"] == "limit" and "rate" in c), None)
    whole_ratio = whole / limit if whole and limit else None
    targets = [
        Target("of the limit, in a running worker", found["ratio_to_limit"], at_least=0.95),
        Target("of the limit, with the start of the process", whole_ratio, at_least=0.85),
        Target("times the best peer", found["ratio_to_best_peer"], at_least=1.4),
        Target("MB at most", peak_of(contestants), at_most=200),
    ]
    return Section("rows/s", contestants, targets, {"whole_ratio_to_limit": whole_ratio})


class _Arena:
    """The contestants, and the tables and files they need."""

    def __init__(self, bench: Bench, database: Database, emulators: Cloud) -> None:
        self._bench, self._database, self._cloud = bench, database, emulators
        self._file = bench.file(".parquet")
        self._few = bench.file(".parquet", max(bench.rows // _SLOW_SHARE, 1000))
        self._facts, self._few_facts = data.facts(self._file), data.facts(self._few)
        files.put_raw(emulators, self._file)

    def contestants(self) -> list[Contestant]:
        """Everybody; peers only where their environment is."""
        columns = ", ".join(column.name for column in dataset("yellow").columns)
        binary = files.copy_file(self._file, self._bench.folder / "data")
        plain = self._bench.file(".csv")
        copy = f"\\copy limit_binary ({columns}) from '{binary}' (format binary)"
        frozen = (
            f"begin; truncate limit_frozen; copy limit_frozen ({columns}) from stdin (format binary, freeze);"
            " commit"
        )
        everybody = [
            Contestant(
                _OURS, "ours", self._bench.worker("ingest"), self._facts.rows,
                worker_variables(self._cloud.variables, {"TAXI_POSTGRES_DSN": self._database.dsn}),
                check=lambda _: self._check("yellow_trips", self._facts), server_cpu=self._database.cpu,
            ),
            self._psql(r"\copy of a ready binary file", "limit", "limit_binary", copy),
            self._psql(
                "the same, frozen in one transaction", "note", "limit_frozen", frozen, stdin=binary
            ),
            self._psql(
                r"\copy of a CSV file", "peer", "peer_csv",
                f"\\copy peer_csv from '{plain}' (format csv, header)",
                columns=files.published_columns(self._file),
            ),
        ]  # fmt: skip
        return everybody + (self._peers() if self._bench.peers else [])

    def _psql(
        self, name: str, role: str, table: str, command: str, columns: str = "", stdin: Path | None = None
    ) -> Contestant:
        def prepare() -> None:
            made = columns or files.typed_columns(dataset("yellow"))
            self._database.execute(
                f"DROP TABLE IF EXISTS {table}", f"CREATE TABLE {table} ({made})", "CHECKPOINT"
            )

        words = self._database.psql(command)
        if stdin:
            words = ["sh", "-c", 'exec "$0" "$@" < ' + f"'{stdin}'", *words]
        return Contestant(
            name, role, words, self._facts.rows, self._database.variables, prepare,  # type: ignore[arg-type]
            lambda _: self._check(table, self._facts), self._database.cpu,
        )  # fmt: skip

    def _peers(self) -> list[Contestant]:
        dsn = {"PEER_DSN": self._url("postgresql"), "DLT_DATA_DIR": str(self._bench.folder / "dlt")}
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
                {"DESTINATION_URI": self._url("postgresql"), "DISABLE_TELEMETRY": "true"},
            ),
        ]  # fmt: skip

    def _url(self, scheme: str) -> str:
        variables = self._database.variables
        user, password = variables["PGUSER"], variables["PGPASSWORD"]
        return f"{scheme}://{user}:{password}@127.0.0.1:{variables['PGPORT']}/{variables['PGDATABASE']}?sslmode=disable"

    def _peer(
        self, name: str, command: list[str | Path], table: str, facts: Facts, environment: dict[str, str]
    ) -> Contestant:
        def prepare() -> None:
            # dlt remembers what it has loaded, in a folder and in tables of its own: gone as well.
            shutil.rmtree(self._bench.folder / "dlt", ignore_errors=True)
            self._database.execute(
                "DROP SCHEMA IF EXISTS dlt, dlt_staging CASCADE",
                f"DROP TABLE IF EXISTS {table}",
                "CHECKPOINT",
            )

        def check(_: Run) -> None:
            self._check(table, facts)

        return Contestant(name, "peer", command, facts.rows, environment, prepare, check, self._database.cpu)

    def _check(self, table: str, expected: Facts) -> None:
        found = self._database.facts(table)
        if not found.agrees(expected):
            raise Wrong(f"{table} has {found}; the file has {expected}")
