"""A raw file as typed Parquet, and its quarantine beside it: one pass, memory of one row group."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from elt.catalogue import Dataset
from elt.conforming.rows import (
    Binding,
    Conformed,
    bind,
    check_complete,
    conform,
    quarantine_schema,
    typed_schema,
)
from elt.errors import PermanentError
from elt.formats.prefetch import ahead
from elt.formats.raw_file import Raw, open_raw
from elt.months import Month

# A row group is held in memory until it is written, and the next one beside it: about 10 MB of trips each.
GROUP_ROWS = 65_536


@dataclass
class Split:
    """A raw file on its way through conform: its parts, once; then their counts, which add up."""

    raw: Raw
    binding: Binding
    parts: Iterator[Conformed]
    name: str
    rows: int = 0
    quarantined: int = 0

    @property
    def drift(self) -> tuple[str, ...]:
        """The file's columns that the catalogue does not know; of JSON lines at the end only."""
        return self.raw.fields.unknown if self.raw.fields else self.binding.drift

    def __iter__(self) -> Iterator[Conformed]:
        for part in self.parts:
            self.rows += part.typed.num_rows
            self.quarantined += part.rejected
            yield part
        if self.raw.rows not in (None, self.rows + self.quarantined):
            raise PermanentError(
                f"{self.name}: corrupt Parquet (it announces {self.raw.rows:,} rows "
                f"and has {self.rows + self.quarantined:,})"
            )
        if fields := self.raw.fields:
            check_complete(
                self.binding.ds, self.binding.month, fields.found, (*fields.found, *fields.unknown)
            )
        if not self.rows:
            # Nothing may replace a month by nothing.
            raise PermanentError(f"{self.name}: no row fits ({self.quarantined:,} rows, all for quarantine)")


def split(file: BinaryIO, ds: Dataset, month: Month | None) -> Split:
    """Open a raw file for conforming; PermanentError if it is corrupt or has lost a column."""
    name = ds.file_name(month)
    raw = open_raw(file, name, ds)
    binding = bind(raw.schema, ds, month)
    return Split(raw, binding, conform(raw.batches, binding), name)


def write(parts: Split, ds: Dataset) -> tuple[BinaryIO, BinaryIO | None]:
    """Write typed and quarantined rows into open files without a name; None for no quarantine."""
    typed = ParquetFile(typed_schema(ds))
    quarantine = ParquetFile(quarantine_schema(parts.raw.schema))
    # Arrow reads and writes without Python's lock: the next group is read while this one is written.
    with closing(ahead(_groups(parts))) as groups:
        for part in chain.from_iterable(groups):
            typed.add(part.typed)
            if part.quarantined is not None:
                quarantine.add(part.quarantined)
    return typed.finish(), quarantine.finish() if parts.quarantined else None


def _groups(parts: Iterable[Conformed]) -> Iterator[list[Conformed]]:
    """About a row group each, rows for quarantine counted: a file may have no others."""
    group: list[Conformed] = []
    rows = 0
    for part in parts:
        group.append(part)
        rows += part.typed.num_rows + part.rejected
        if rows >= GROUP_ROWS:
            yield group
            group, rows = [], 0
    yield group


class ParquetFile:
    """Parquet written batch by batch, in row groups of a useful size."""

    def __init__(self, schema: pa.Schema) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - whoever finishes it closes it
        # Hardly two moments are the same: a dictionary of them takes time, and more room than they do.
        repeated = [field.name for field in schema if not pa.types.is_timestamp(field.type)]
        self._writer = pa.parquet.ParquetWriter(self._file, schema, use_dictionary=repeated)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= GROUP_ROWS:
            self._write(self._waiting)

    def _write(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._writer.write_table(pa.Table.from_batches(batches), row_group_size=self._rows)
        self._waiting, self._rows = [], 0

    def finish(self) -> BinaryIO:
        """Complete the file; return it open at its beginning."""
        if self._rows:
            self._write(self._waiting)
        self._writer.close()
        self._file.seek(0)
        return self._file
