"""Quarantined rows as one Parquet file, whatever columns the files had that they are from."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from elt.conforming.schema import REASON
from elt.errors import PermanentError
from elt.formats.parquet_writer import ParquetWriter

# Sets of columns that the files of one partition may have: each is a file of this disk.
_MOST_SCHEMAS = 50


class Quarantine:
    """A Parquet file of texts under construction. Of rows of one schema it is written as they come.

    Files of one partition may have other columns than each other. Then there is a file for each of these
    schemas until the end, and what one lacks is null. Leaving its `with` block closes what is not finished.
    """

    def __init__(self) -> None:
        self._writers: list[tuple[pa.Schema, ParquetWriter]] = []
        self._last: ParquetWriter | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.__exit__(*error)  # type: ignore[arg-type]

    def add(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        writer = next((known for schema, known in self._writers if schema.equals(batch.schema)), None)
        if writer is None:
            if len(self._writers) == _MOST_SCHEMAS:
                raise PermanentError(
                    f"its files have more than {_MOST_SCHEMAS} different sets of columns: no dataset."
                )
            writer = self._open.enter_context(ParquetWriter(batch.schema))
            self._writers.append((batch.schema, writer))
        if self._last is not None and self._last is not writer:
            # One group in memory, not one of each.
            self._last.flush()
        self._last = writer
        writer.add(batch)

    def finish(self) -> BinaryIO | None:
        """Complete the file and return it, open at its beginning; None if there is no row."""
        files = [writer.finish() for _, writer in self._writers]
        if len(files) < 2:
            return files[0] if files else None
        names = _names(schema.names for schema, _ in self._writers)
        with ParquetWriter(pa.schema([pa.field(name, pa.string()) for name in names.values()])) as together:
            for file in files:
                with file:
                    rows = pq.ParquetFile(file)
                    for number in range(rows.num_row_groups):
                        for batch in rows.read_row_group(number).to_batches():
                            together.add(_widened(batch, names))
            return together.finish()


def _names(schemas: Iterable[list[str]]) -> dict[str, str]:
    """All names of some schemas by their lower case, the reason last: case makes no difference to readers."""
    names: dict[str, str] = {}
    for schema in schemas:
        for name in schema:
            names.setdefault(name.lower(), name)
    return {**{key: name for key, name in names.items() if key != REASON}, REASON: REASON}


def _widened(batch: pa.RecordBatch, names: dict[str, str]) -> pa.RecordBatch:
    given = {name.lower(): column for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    nulls = pa.nulls(batch.num_rows, pa.string())
    return pa.RecordBatch.from_arrays([given.get(key, nulls) for key in names], list(names.values()))
