"""Files in TLC's layout with any number of rows; the same rows at any time, in flat memory.

A block of plausible trips is generated once and then repeated, each time rotated by another number of rows:
no two row groups are alike, and every figure of the whole is known from its parts. From such a file follows
what else the contestants read: a raw object, a binary COPY file, tables' columns.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pgpq
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from bench import MONTH as TEXT
from elt.catalogue import Dataset
from elt.catalogue.registry import dataset
from elt.conforming.schema import typed_schema
from elt.conforming.stream import Split
from elt.connections import EnvironmentConnections
from elt.layout import raw_object
from elt.periods import Month
from elt.stores.gcs import Content
from elt.stores.postgres import TYPES

MONTH = Month.parse(TEXT)
BLOCK = 1 << 17
GROUP = 1 << 20
# How far each block is rotated against the one before: prime to the block's length.
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
    """Trips of the month alone: a real file has some of other months, which would go into quarantine."""
    from taxiway.emulators.tlc_sample.trips import write_yellow

    path = folder / f"block-{rows}.parquet"
    if not path.exists():
        write_yellow(path, MONTH.first_day(), rows)
    table = pa.parquet.read_table(path, use_threads=False)
    pickup = table.column("tpep_pickup_datetime")
    inside = pc.and_(pc.greater_equal(pickup, _moment(MONTH)), pc.less(pickup, _moment(MONTH.next())))
    kept = table.filter(inside)
    # As many as requested: the first ones again, in place of what was left out.
    return pa.concat_tables([kept, kept.slice(0, rows - kept.num_rows)]).combine_chunks()


def _moment(month: Month) -> pa.Scalar:
    return pa.scalar(dt.datetime(month.start.year, month.start.month, 1), pa.timestamp("us"))  # noqa: DTZ001 - local


def write(path: Path, rows: int) -> Path:
    """Write the rows in the form that the path's name ends with (.parquet, .csv, .csv.gz)."""
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
        # Level 6 is gzip's own; without the time stamp two files are alike.
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


def columns(parquet: Path) -> list[str]:
    """Names of a Parquet file's columns."""
    return list(pa.parquet.read_schema(parquet).names)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_raw(variables: Mapping[str, str], file: Path) -> None:
    """Put a file into the lake as the stage `download` does: the raw object of January 2024."""
    entry = dataset("yellow")
    facts = {
        "dataset": entry.name, "month": TEXT, "checksum": checksum(file), "source": "",
        "source_url": "", "source_etag": "", "source_last_modified": "",
    }  # fmt: skip
    with EnvironmentConnections(variables).lake() as lake, file.open("rb") as source:
        content = Content(source, file.stat().st_size, "application/vnd.apache.parquet", facts)
        lake.write(raw_object(entry, MONTH), content)


def copy_file(parquet: Path, folder: Path) -> Path:
    """The same rows, typed as the catalogue defines them, ready for COPY … (FORMAT BINARY)."""
    path = folder / f"{parquet.stem}.pgcopy"
    if path.exists():
        return path
    entry, unfinished = dataset("yellow"), path.with_suffix(".unfinished")
    encoder = pgpq.ArrowToPostgresBinaryEncoder(typed_schema(entry))
    with (
        parquet.open("rb") as source,
        unfinished.open("wb") as out,
        Split(source, entry, MONTH) as parts,
    ):
        out.write(encoder.write_header())
        for part in parts:
            out.write(encoder.write_batch(part.typed))
        out.write(encoder.finish())
    unfinished.replace(path)
    return path


def typed_columns(entry: Dataset) -> str:
    """A dataset's columns as SQL defines them."""
    return ", ".join(f"{column.name} {TYPES[column.type]}" for column in entry.columns)


def published_columns(parquet: Path) -> str:
    """A published file's own columns as SQL defines them."""
    types = {
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float64(): "double precision",
        pa.string(): "text",
        pa.large_string(): "text",
        pa.timestamp("us"): "timestamp",
    }
    schema = pa.parquet.read_schema(parquet)
    return ", ".join(f"{field.name.lower()} {types[field.type]}" for field in schema)
