"""Raw files of every format as streams of Arrow batches, in memory that does not grow with the file."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from elt.catalogue import Dataset, Format
from elt.errors import PermanentError, first_line
from elt.formats.batches import Batch, gunzip
from elt.formats.csv_reader import CsvReader
from elt.formats.jsonl_reader import JsonlReader

# A batch has so many rows, and so many bytes of text, at most: a file of a few kB can hold one long text and
# a million references to it.
BATCH_ROWS, BATCH_BYTES = 16_384, 8 * 2**20
# Bytes read at once, of each column.
_BUFFER = 1 << 18
_TITLES: Mapping[Format, str] = {
    "parquet": "Parquet",
    "csv": "CSV",
    "csv.gz": "CSV",
    "jsonl": "JSON lines",
    "jsonl.gz": "JSON lines",
}


@dataclass(frozen=True)
class Raw:
    """An open raw file: its schema, its batches (once), and its row count where the file states one.

    A file of JSON lines has the catalogue's columns as its schema; `fields` knows at the end which of them
    it really had. Of a Parquet file only columns that the catalogue knows are read; `unread` names the
    others. `close` ends the prefetch; the file itself stays open.
    """

    schema: pa.Schema
    batches: Iterator[Batch]
    rows: int | None
    fields: JsonlReader | None
    close: Callable[[], None]
    unread: tuple[str, ...] = ()


def open_raw(file: BinaryIO, name: str, ds: Dataset, types: Mapping[str, pa.DataType]) -> Raw:
    """Open a seekable raw file of a dataset; `types` is `CsvReader`'s.

    Raises PermanentError for a corrupt file, here or while its batches are read. Close it when done.
    """
    form = ds.file_format
    with _corrupt_is_permanent(name, form):
        source = gunzip(file) if form.endswith(".gz") else file
        if form == "parquet":
            return _open_parquet(source, name, ds)
        if form.startswith("csv"):
            lines = CsvReader(source, ds.delimiter, types)
            return Raw(lines.schema, _guarded(iter(lines), name, form), None, None, lines.close)
        objects = JsonlReader(source, ds.columns)
        return Raw(objects.schema, _guarded(iter(objects), name, form), None, objects, objects.close)


def _open_parquet(source: BinaryIO, name: str, ds: Dataset) -> Raw:
    # pyarrow's defaults read whole column chunks ahead: memory would grow with the file.
    reading = {"buffer_size": _BUFFER, "pre_buffer": False}
    parquet = pa.parquet.ParquetFile(source, **reading)
    known = frozenset[str]().union(*(column.known_names for column in ds.columns))
    found, unread = list[pa.Field](), list[str]()
    for field in parquet.schema_arrow:
        if field.name.strip().lower() in known:
            found.append(field)
        else:
            unread.append(field.name)
    # Texts stay numbers that refer to a dictionary until it is known how long they are.
    texts = [field.name for field in found if is_text(field.type)]
    parquet = pa.parquet.ParquetFile(source, metadata=parquet.metadata, read_dictionary=texts, **reading)
    batches = parquet.iter_batches(BATCH_ROWS, columns=[field.name for field in found], use_threads=False)
    pieces = (piece for batch in batches for piece in _in_pieces(batch))
    guarded = _guarded(pieces, name, "parquet")
    return Raw(pa.schema(found), guarded, parquet.metadata.num_rows, None, batches.close, tuple(unread))


def _in_pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in slices whose texts take BATCH_BYTES at most; a longer text is in a slice of its own."""
    sizes = None
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and is_text(column.type.value_type):
            lengths = pc.binary_length(column.dictionary).take(column.indices)
        elif is_text(column.type):
            lengths = pc.binary_length(column)
        else:
            continue
        lengths = pc.fill_null(lengths.cast(pa.int64()), 0)
        sizes = lengths if sizes is None else pc.add(sizes, lengths)
    if sizes is None or (pc.sum(sizes).as_py() or 0) <= BATCH_BYTES:
        yield batch
        return
    start = total = 0
    for index, size in enumerate(sizes.to_pylist()):
        if total + size > BATCH_BYTES and index > start:
            yield batch.slice(start, index - start)
            start, total = index, 0
        total += size
    yield batch.slice(start)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are bytes of any length, legible or not."""
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(check(kind) for check in checks)


def _guarded(batches: Iterator[Batch], name: str, form: Format) -> Iterator[Batch]:
    with _corrupt_is_permanent(name, form):
        yield from batches


@contextmanager
def _corrupt_is_permanent(name: str, form: Format) -> Iterator[None]:
    """Turn what readers raise for a corrupt file into PermanentError."""
    errors: tuple[type[Exception], ...] = (pa.ArrowException, OSError, EOFError, ValueError)
    if form.endswith(".gz"):
        from isal.igzip_lib import IsalError  # a child of Exception alone

        errors += (IsalError,)  # type: ignore[operator]  # isal's stub calls it an instance
    try:
        yield
    except errors as error:
        raise PermanentError(f"{name}: corrupt {_TITLES[form]} ({first_line(error, 200)})") from None
