"""Typed Parquet → staging → audits → published, against the load that the emulator itself needs."""

from __future__ import annotations

from bench import data, files
from bench.bench import Bench, worker_variables
from bench.contest import Contestant, Wrong
from bench.processes import Run
from bench.processes import run as run_once
from bench.section import Section, ratios
from bench.services import Cloud, cloud

TITLE = "Lake → warehouse"


def run(bench: Bench) -> Section:
    """Race the three verbs of a month against one load job."""
    file = bench.file(".parquet")
    with cloud(bench.folder) as emulators:
        files.put_raw(emulators, file)
        variables = worker_variables(emulators.variables)
        run_once(bench.worker("conform"), variables)
        contestants = bench.race(_contestants(bench, emulators, variables, data.facts(file).rows))
    return Section("rows/s", contestants, (), {"of_the_load_alone": ratios(contestants)["ratio_to_limit"]})


def _contestants(bench: Bench, emulators: Cloud, variables: dict[str, str], rows: int) -> list[Contestant]:
    def check(done: Run) -> None:
        found = {verb: told["returned"]["rows"] for verb, told in done.said["verbs"].items()}
        if set(found.values()) != {rows}:
            raise Wrong(f"{found}; the file has {rows} rows")

    def check_load(done: Run) -> None:
        if done.said.get("rows") != rows:
            raise Wrong(f"{done.said.get('rows')} rows; the file has {rows}")

    load = [*bench.worker()[:-1], "bench.load_job"]
    return [
        Contestant(
            "taxiway stage, audit, publish (in a worker)", "ours", bench.worker("stage", "audit", "publish"),
            rows, variables, check=check, server_cpu=emulators.cpu,
        ),
        Contestant(
            "a load job of the same object", "limit", load, rows, variables, check=check_load,
            server_cpu=emulators.cpu,
        ),
    ]  # fmt: skip
