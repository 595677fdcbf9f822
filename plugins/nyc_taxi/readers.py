"""Raw files as streams of Arrow batches, in memory that does not grow with the file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from nyc_taxi.catalogue import Format
from nyc_taxi.errors import Refused

BATCH_ROWS = 16_384
_BLOCK = 1 << 20
_UNREADABLE = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True)
class Raw:
    """An open raw file: its own schema, its batches (once), and its rows where the file says so."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    rows: int | None


def open_raw(file: BinaryIO, name: str, form: Format) -> Raw:
    """Open a seekable file; a corrupt one is Refused, here or while its batches are read."""
    opening = {"parquet": _open_parquet, "csv": _open_csv}[form]
    try:
        raw = opening(file)
    except _UNREADABLE as error:
        raise _corrupt(name, form, error) from None
    return Raw(raw.schema, _guarded(raw.batches, name, form), raw.rows)


def _open_parquet(file: BinaryIO) -> Raw:
    # pyarrow's defaults read whole column chunks ahead: memory would follow the file's size.
    parquet = pa.parquet.ParquetFile(file, buffer_size=_BLOCK, pre_buffer=False)
    batches = parquet.iter_batches(BATCH_ROWS, use_threads=False)
    return Raw(parquet.schema_arrow, batches, parquet.metadata.num_rows)


def _open_csv(file: BinaryIO) -> Raw:
    """Every column as text (empty means null): what a value is, conform decides by the catalogue."""
    names = pa.csv.open_csv(file, _csv_reading()).schema.names
    file.seek(0)
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    reader = pa.csv.open_csv(file, _csv_reading(), convert_options=convert)
    return Raw(reader.schema, iter(reader), None)


def _csv_reading() -> pa.csv.ReadOptions:
    return pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK)


def _guarded(batches: Iterator[pa.RecordBatch], name: str, form: Format) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except _UNREADABLE as error:
        raise _corrupt(name, form, error) from None


def _corrupt(name: str, form: Format, error: Exception) -> Refused:
    first_line = str(error).strip().split("\n", 1)[0]
    kind = {"parquet": "Parquet", "csv": "CSV"}[form]
    return Refused(f"{name}: corrupt {kind} ({first_line[:200]})")
