"""Parquet written batch by batch, in memory of one row group."""

import tempfile
from contextlib import suppress
from typing import BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet

# A group is held in memory until it is written: about 20 MB of trips, 3 in the file. What larger ones would
# cost: docs/decisions/0011-parquet-pages.md. Rows of long texts are fewer.
GROUP_ROWS, GROUP_BYTES = 131_072, 32 * 2**20


class ParquetWriter:
    """A Parquet file under construction, without a name: a killed process leaves nothing to clean up.

    Leaving its `with` block closes the file, unless the block was left normally after `finish`.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__ or the caller
        # Timestamps hardly repeat: a dictionary of them takes time, and more room than the plain values.
        repeated = [field.name for field in schema if not pa.types.is_timestamp(field.type)]
        # Rows come roughly in the order of time: another column's least and greatest values rule nothing out.
        ordered = [field.name for field in schema if pa.types.is_temporal(field.type)]
        self._writer = pa.parquet.ParquetWriter(
            self._file, schema, use_dictionary=repeated, write_statistics=ordered
        )
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._finished and kind is None:
            return
        # Arrow writes a footer on closing, which fails again if a full disk is the reason for leaving.
        with self._file, suppress(OSError, pa.ArrowException):
            self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write_group()

    def flush(self) -> None:
        """Write what is in memory."""
        if self._rows:
            self._write_group()

    def finish(self) -> BinaryIO:
        """Complete the file and return it, open at its beginning; the caller closes it."""
        self.flush()
        self._writer.close()
        self._file.seek(0)
        self._finished = True
        return self._file

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=self._rows)
        self._waiting, self._rows, self._bytes = [], 0, 0
