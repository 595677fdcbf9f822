"""Columns that are read one after the other and wanted side by side, by way of this disk."""

import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from typing import BinaryIO

import pyarrow as pa
import pyarrow.ipc


@contextmanager
def spilled(batches: Iterable[pa.RecordBatch]) -> Iterator[Generator[pa.RecordBatch, None, None]]:
    """Write batches into a file without a name, and give them once more, in the memory of one.

    A schema may change on the way. The file is gone when the block ends.
    """
    with tempfile.TemporaryFile() as file:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        for schema, alike in groupby(batches, attrgetter("schema")):
            with pa.ipc.new_stream(file, schema, options=options) as stream:
                for batch in alike:
                    stream.write_batch(batch)
        end = file.tell()
        file.seek(0)
        yield _read(file, end)


def _read(file: BinaryIO, end: int) -> Generator[pa.RecordBatch, None, None]:
    while file.tell() < end:
        yield from pa.ipc.open_stream(file)


def side_by_side(parts: Iterable[Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """Batches of all columns from those of some each, which may be cut at other rows.

    ValueError if there are more rows of one part than of another.
    """
    sources = [filter(len, part) for part in parts]
    held = [next(source, None) for source in sources]
    while whole := [batch for batch in held if batch]:
        if len(whole) < len(held):
            raise ValueError("its columns have different numbers of rows")
        rows = min(map(len, whole))
        names = [name for batch in whole for name in batch.schema.names]
        columns = [column.slice(0, rows) for batch in whole for column in batch.columns]
        yield pa.RecordBatch.from_arrays(columns, names)
        rest = [batch.slice(rows) for batch in whole]
        held = [batch or next(source, None) for batch, source in zip(rest, sources, strict=True)]
