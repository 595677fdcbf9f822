"""A raw file as typed Parquet: the library's own pass over it, against what others make of the same file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import data
from bench.bench import Bench, module, worker_variables
from bench.contest import Contestant, Wrong
from bench.data import Facts
from bench.processes import Run
from bench.section import Json, Section, Target, peak_of, ratios

TITLE = "Raw → typed Parquet"
_LIBRARIES = ("pandas", "polars", "duckdb", "pyarrow")


def run(bench: Bench) -> Section:
    """Two races: from compressed CSV and from Parquet."""
    packed = bench.race(_Arena(bench, ".csv.gz").contestants())
    columnar = bench.race(_Arena(bench, ".parquet").contestants())
    from_csv, from_parquet = ratios(packed), ratios(columnar)
    targets = [
        Target("times the best peer, from CSV.gz", from_csv["ratio_to_best_peer"], at_least=1.3),
        Target("of pyarrow's plain read and write, Parquet", from_parquet["ratio_to_limit"], at_least=0.7),
        Target("MB at most", max(filter(None, map(peak_of, (packed, columnar))), default=None), at_most=250),
    ]
    facts = {"from_csv_gz": from_csv, "from_parquet": from_parquet}
    return Section("rows/s", [*_named(packed, "CSV.gz"), *_named(columnar, "Parquet")], targets, facts)


def _named(contestants: list[Json], form: str) -> list[Json]:
    return [{**told, "name": f"{told['name']}, {form}", "group": form} for told in contestants]


@dataclass(frozen=True)
class _Arena:
    bench: Bench
    form: str

    def contestants(self) -> list[Contestant]:
        """Ours, the libraries, and for Parquet what pyarrow needs for the copy alone."""
        out = self.bench.folder / "typed.parquet"
        file, facts = self.bench.file(self.form), data.facts(self.bench.file(".parquet"))
        ours: list[str | Path] = module("conforming", file, out)
        found = [self._one("taxiway conform", "ours", ours, out, facts)]
        if self.form == ".parquet":
            plain: list[str | Path] = module("plain_copy", file, out)
            found.append(self._one("pyarrow, read and written by row group", "limit", plain, out, facts))
        if self.bench.peers:
            found += [
                self._one(name, "peer", self.bench.peer(f"conform_{name}.py", file, out), out, facts)
                for name in _LIBRARIES
            ]
        return found

    def _one(self, name: str, role: str, command: list[str | Path], out: Path, expected: Facts) -> Contestant:
        def check(_: Run) -> None:
            found = data.facts(out)
            if not found.agrees(expected):
                raise Wrong(f"it has {found}; the file has {expected}")

        return Contestant(
            name, role, command, expected.rows, worker_variables() if role != "peer" else {},  # type: ignore[arg-type]
            lambda: out.unlink(missing_ok=True), check,
        )  # fmt: skip
