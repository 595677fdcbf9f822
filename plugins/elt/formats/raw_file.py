"""Raw files as streams of Arrow batches, in memory that does not grow with the file."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from elt.catalogue import Dataset, Format
from elt.conforming.rows import Batch
from elt.errors import PermanentError
from elt.formats.csv_reader import CsvLines
from elt.formats.jsonl_reader import JsonLines
from elt.formats.text_blocks import gunzip

BATCH_ROWS = 16_384
# Bytes read at once, of each column.
_BUFFER = 1 << 18
_UNREADABLE = (pa.ArrowException, csv.Error, OSError, EOFError, ValueError)
_KINDS: Mapping[Format, str] = {
    "parquet": "Parquet",
    "csv": "CSV",
    "csv.gz": "CSV",
    "jsonl": "JSON lines",
    "jsonl.gz": "JSON lines",
}

Batches = Iterator[Batch]


@dataclass(frozen=True)
class Raw:
    """An open raw file: its own schema, its batches (once), and its rows where the file says so.

    A file of JSON lines has the catalogue's columns as its schema, and `fields` says at the end which
    of them it really had.
    """

    schema: pa.Schema
    batches: Batches
    rows: int | None = None
    fields: JsonLines | None = None


def open_raw(file: BinaryIO, name: str, ds: Dataset) -> Raw:
    """Open a seekable file; a corrupt one is PermanentError, here or while its batches are read."""
    opening: Mapping[str, Callable[[BinaryIO, Dataset], Raw]] = {
        "parquet": _open_parquet,
        "csv": _open_csv,
        "jsonl": _open_json,
    }
    with _refusing(name, ds.file_format):
        source = gunzip(file) if ds.file_format.endswith(".gz") else file
        raw = opening[ds.file_format.removesuffix(".gz")](source, ds)
    return Raw(raw.schema, _guarded(raw.batches, name, ds.file_format), raw.rows, raw.fields)


def _open_parquet(file: BinaryIO, _: Dataset) -> Raw:
    # pyarrow's defaults read whole column chunks ahead: memory would follow the file's size.
    parquet = pa.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    batches = parquet.iter_batches(BATCH_ROWS, use_threads=False)
    return Raw(parquet.schema_arrow, batches, parquet.metadata.num_rows)


def _open_csv(file: BinaryIO, ds: Dataset) -> Raw:
    opened = CsvLines(file, ds)
    return Raw(opened.schema, iter(opened))


def _open_json(file: BinaryIO, ds: Dataset) -> Raw:
    opened = JsonLines(file, ds)
    return Raw(opened.schema, iter(opened), fields=opened)


def _guarded(batches: Iterable[Batch], name: str, form: Format) -> Batches:
    with _refusing(name, form):
        yield from batches


@contextmanager
def _refusing(name: str, form: Format) -> Iterator[None]:
    """Make a refusal of what readers raise over a corrupt file."""
    try:
        yield
    except Exception as error:
        # isal's own error is a bare Exception.
        if not isinstance(error, _UNREADABLE) and type(error).__name__ != "IsalError":
            raise
        first_line = str(error).strip().split("\n", 1)[0]
        raise PermanentError(f"{name}: corrupt {_KINDS[form]} ({first_line[:200]})") from None
