"""Small files that unpack large: what each takes to be conformed, and DuckDB to copy them."""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure import Contestant
from bench.section import Bench, Json, Target, peak_of, process

BOUND_MB = 300 * 2**20 / 1e6
_ROWS, _WIDTH, _HUGE = 200, 1_000_000, 64_000_000


def _wide_rows(file: Path) -> None:
    with gzip.open(file, "wb", compresslevel=1) as out:
        out.write(b"id,note\n")
        out.writelines(b"%d,%b\n" % (number, b"x" * _WIDTH) for number in range(_ROWS))


def _one_huge(name: bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with gzip.open(file, "wb", compresslevel=1) as out:
            out.write(b"id,%b\n1,%b\n2,b\n" % (name, b"x" * _HUGE))

    return write


def _references(file: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * _ROWS, pa.int32()), ["x" * _WIDTH])
    pq.write_table(pa.table({"id": range(_ROWS), "note": texts}), file)


def _pages(file: Path) -> None:
    rows = {"id": range(_ROWS), "note": [f"{number}{'x' * _WIDTH}" for number in range(_ROWS)]}
    pq.write_table(pa.table(rows), file, use_dictionary=False, compression="zstd", write_batch_size=8)


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "200 rows of 1 MB, CSV.gz": ("wide.csv.gz", _wide_rows),
    "200 MB in one dictionary's text, Parquet": ("references.parquet", _references),
    "200 MB in pages, Parquet": ("pages.parquet", _pages),
    "a value of 64 MB, CSV.gz": ("huge.csv.gz", _one_huge(b"note")),
    "the same in an unknown column": ("unknown.csv.gz", _one_huge(b"other")),
}


def wide_rows(bench: Bench) -> tuple[list[Json], Target]:
    """One run of each: memory does not depend on how busy the machine is."""
    folder = bench.folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    contestants = []
    for title, (name, write) in FILES.items():
        file, rows = folder / name, 2 if "huge" in name or "unknown" in name else _ROWS
        if not file.exists():
            write(file)
        for who, role in (("taxiway conform", "ours"), ("DuckDB", "peer")):
            command = process("wide", who, file, folder / "wide.out")
            contestants.append(Contestant(f"{who}, {title}", role, command, rows))  # type: ignore[arg-type]
    found = replace(bench, n=1).race(contestants)
    return found, Target("MB at most, wide rows", peak_of(found), at_most=BOUND_MB)


def _ours(raw: str) -> None:
    from elt.catalogue import Column, Dataset
    from elt.conforming.stream import Split, write

    columns = (Column("id", "int64", "Key."), Column("note", "string", "Any.", required=False))
    entry = Dataset("wide", "Wide", f"/wide.{Path(raw).name.partition('.')[2]}", "wide", "id", columns)
    with open(raw, "rb") as file, Split(file, entry, None) as parts:
        for written in write(parts):
            if written:
                written.close()


def _duckdb(raw: str, out: str) -> None:
    import duckdb

    # What it reads at once has to hold the longest line, and slows it down.
    size = 2 * (_WIDTH if "/wide." in raw else _HUGE)
    found = f"read_csv('{raw}', header = true, max_line_size = {size}, buffer_size = {2 * size})"
    if raw.endswith(".parquet"):
        found = f"read_parquet('{raw}')"
    note = "NULL" if "unknown" in raw else "note"
    duckdb.sql(f"COPY (SELECT id, {note} AS note FROM {found}) TO '{out}' (FORMAT parquet)")


def main() -> None:
    """Conform or copy a file; the last line of the output says how long it took."""
    who, raw, out = sys.argv[1:]
    started = time.monotonic()
    if who == "DuckDB":
        _duckdb(raw, out)
    else:
        _ours(raw)
    said: dict[str, Any] = {"seconds": time.monotonic() - started}
    sys.stdout.write("\n" + json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
