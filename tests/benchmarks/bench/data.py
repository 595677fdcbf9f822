"""Files in TLC's layout with as many rows as asked for; the same rows at any time, in flat memory.

A block of plausible trips is made once and then repeated, each time turned by another number of rows:
no two row groups are alike, and every figure of the whole is known from its parts.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from bench import MONTH as TEXT
from elt.months import Month

MONTH = Month.parse(TEXT)
BLOCK = 1 << 17
GROUP = 1 << 20
# How far each block is turned against the one before: prime to the block's length.
_TURN = 7919
_FORMATS = (".parquet", ".csv.gz", ".csv")


@dataclass(frozen=True)
class Facts:
    """What must come out of a file, wherever it is loaded."""

    rows: int
    total_amount: float
    trip_distance: float

    def __str__(self) -> str:
        return f"{self.rows:,} rows, amount {self.total_amount:,.2f}, distance {self.trip_distance:,.2f}"

    def agrees(self, other: Facts) -> bool:
        """Whether both are of the same rows: sums of many floats differ in their last digits."""
        return self.rows == other.rows and all(
            abs(a - b) <= 1e-9 * max(abs(a), 1.0)
            for a, b in (
                (self.total_amount, other.total_amount),
                (self.trip_distance, other.trip_distance),
            )
        )


def blocks(rows: int, folder: Path) -> Iterator[pa.Table]:
    """The trips of yellow taxis, `rows` of them, as TLC has published them since 2023."""
    first = _block(min(rows, BLOCK), folder)
    for number in range(-(-rows // BLOCK)):
        turn = number * _TURN % first.num_rows
        turned = pa.concat_tables([first.slice(turn), first.slice(0, turn)]).combine_chunks()
        yield turned.slice(0, min(BLOCK, rows - number * BLOCK))


def _block(rows: int, folder: Path) -> pa.Table:
    """Trips of the month alone: the rows that a real file has too much are another test's matter."""
    from taxiway.emulators.tlc_sample import taxis
    from taxiway.emulators.tlc_sample.datasets import Month as SourceMonth

    path = folder / f"block-{rows}.parquet"
    if not path.exists():
        taxis.write_yellow(path, SourceMonth(MONTH.year, MONTH.month), rows)
    table = pa.parquet.read_table(path, use_threads=False)
    pickup = table.column("tpep_pickup_datetime")
    inside = pc.and_(pc.greater_equal(pickup, _moment(MONTH)), pc.less(pickup, _moment(MONTH.next())))
    kept = table.filter(inside)
    # As many as asked for: what was left out is made up by the first ones.
    return pa.concat_tables([kept, kept.slice(0, rows - kept.num_rows)]).combine_chunks()


def _moment(month: Month) -> pa.Scalar:
    return pa.scalar(dt.datetime(month.year, month.month, 1), pa.timestamp("us"))  # noqa: DTZ001 - local


def write(path: Path, rows: int) -> Path:
    """Write the rows as the path's name says (.parquet, .csv, .csv.gz), unless the file is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        _write(unfinished, rows)
        unfinished.replace(path)
    return path


def _write(path: Path, rows: int) -> None:
    tables = blocks(rows, path.parent)
    if path.suffix == ".parquet":
        _write_parquet(path, tables)
    elif path.name.endswith(".csv.gz"):
        # Level 6 is gzip's own; the time stamp is left out, or no two files were alike.
        with path.open("wb") as plain, gzip.GzipFile("", "wb", 6, plain, mtime=0) as packed:
            _write_csv(packed, tables)
    elif path.suffix == ".csv":
        with path.open("wb") as file:
            _write_csv(file, tables)
    else:
        raise ValueError(f"{path.name}: write it as one of {', '.join(_FORMATS)}")


def _write_parquet(path: Path, tables: Iterator[pa.Table]) -> None:
    """As TLC does: a million rows in a row group."""
    first = next(tables)
    waiting = [first]
    with pa.parquet.ParquetWriter(path, first.schema, compression="zstd", version="2.6") as writer:
        for table in tables:
            waiting.append(table)
            if len(waiting) * BLOCK == GROUP:
                writer.write_table(pa.concat_tables(waiting), row_group_size=GROUP)
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=GROUP)


def _write_csv(file: BinaryIO | gzip.GzipFile, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    options = pa.csv.WriteOptions(quoting_style="needed")
    with pa.csv.CSVWriter(file, first.schema, write_options=options) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def facts(parquet: Path) -> Facts:
    """Count and sum a Parquet file, block by block. Columns are found whatever their case."""
    rows, amount, distance = 0, 0.0, 0.0
    file = pa.parquet.ParquetFile(parquet)
    names = {name.lower(): name for name in file.schema_arrow.names}
    columns = [names["total_amount"], names["trip_distance"]]
    for batch in file.iter_batches(BLOCK, columns=columns, use_threads=False):
        rows += batch.num_rows
        amount += pc.sum(batch.column(0)).as_py() or 0.0
        distance += pc.sum(batch.column(1)).as_py() or 0.0
    return Facts(rows, amount, distance)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
