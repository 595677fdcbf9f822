"""CSV as Arrow batches. A line is a row; one that cannot be split into columns is kept as it is."""

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from elt.catalogue import Dataset
from elt.conforming.rows import LINE, Batch, Malformed, Typed, parseable
from elt.formats.text_blocks import legible, lines, without_bom

# So many blocks with a value that is not of its type, and the file's texts are not worth another attempt.
_MISSES = 4


class CsvLines:
    """An open file: its columns, then its batches (once).

    What a value is, conform decides by the catalogue: each is a text, and nothing means null. Where all of a
    block are of their types, they are typed as they are split: half the work.
    """

    def __init__(self, file: BinaryIO, ds: Dataset) -> None:
        self._blocks, self._delimiter = without_bom(file), ds.delimiter
        head, _, self._begun = next(self._blocks).partition(b"\n")
        self._names = self._split(head.decode()) if head.strip() else []
        self._types, self._misses = parseable(self._names, ds), 0
        self.schema = pa.schema([pa.field(name, pa.string()) for name in (*self._names, LINE)])

    def __iter__(self) -> Iterator[Batch]:
        yield from self._read(self._begun)
        for block in self._blocks:
            yield from self._read(block)

    def _read(self, block: bytes) -> Iterator[Batch]:
        if self._types and self._misses < _MISSES:
            table = self._parse(block, self._types)
            if table is not None:
                for batch in table.to_batches():
                    yield Typed(self._with_line(batch), partial(self._read_texts, block))
                return
            self._misses += 1
        yield from self._read_texts(block)

    def _read_texts(self, block: bytes) -> Iterator[Batch]:
        table = self._parse(block, {})
        if table is None:
            yield from self._read_by_line(block)
            return
        for batch in table.to_batches():
            yield self._with_line(batch)

    def _with_line(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.append_column(LINE, pa.nulls(batch.num_rows, pa.string()))

    def _has_as_many_lines(self, block: bytes, rows: int) -> bool:
        """A stray quote makes one row of many lines: Arrow says nothing, the count does."""
        ends = block.count(b"\n") + (not block.endswith(b"\n"))
        # Arrow refuses a blank line as too short a row, or leaves an empty one out, which the count shows;
        # unless a row is one value, or a carriage return alone was an end to it.
        if rows == ends and len(self._names) > 1 and b"\r" not in block:
            return True
        return rows == len(lines(block))

    def _parse(self, block: bytes, types: Mapping[str, pa.DataType]) -> pa.Table | None:
        """Rows of a block; None where a line is no row, or a value not of its type."""
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(block),
                read_options=pa.csv.ReadOptions(
                    column_names=self._names, use_threads=False, block_size=len(block) + 1
                ),
                parse_options=pa.csv.ParseOptions(delimiter=self._delimiter),
                convert_options=pa.csv.ConvertOptions(
                    column_types={name: types.get(name, pa.string()) for name in self._names},
                    strings_can_be_null=True,
                    null_values=[""],
                    # One bad letter is the matter of its row.
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        return table if self._has_as_many_lines(block, len(table)) else None

    def _read_by_line(self, block: bytes) -> Iterator[Batch]:
        rows: list[list[str]] = []
        broken: list[tuple[bytes, str]] = []
        for line in lines(block):
            try:
                row = self._split(line.decode(errors="surrogateescape"))
            except csv.Error as error:
                broken.append((line, f"the line is not CSV: {error}"))
                continue
            if len(row) == len(self._names):
                rows.append(row)
            else:
                broken.append((line, f"the line has {len(row)} values for {len(self._names)} columns"))
        if rows:
            columns = [_texts([row[index] for row in rows]) for index in range(len(self._names))]
            yield pa.RecordBatch.from_arrays([*columns, pa.nulls(len(rows), pa.string())], schema=self.schema)
        if broken:
            yield malformed(broken, self.schema)

    def _split(self, line: str) -> list[str]:
        """Split as Arrow does, which forgives what follows a closing quote, but no quote left open."""
        text = [line.rstrip("\r")]
        try:
            return next(csv.reader(text, delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            if "end of data" in str(error):
                raise
        return next(csv.reader(text, delimiter=self._delimiter))


def malformed(broken: list[tuple[bytes, str]], schema: pa.Schema) -> Malformed:
    """Lines as they are, each with the reason, in the columns of their file."""
    nulls = [pa.nulls(len(broken), field.type) for field in schema][:-1]
    texts = pa.array([legible(line) for line, _ in broken], pa.string())
    return Malformed(
        pa.RecordBatch.from_arrays([*nulls, texts], schema=schema), [reason for _, reason in broken]
    )


def _texts(values: list[str]) -> pa.Array:
    encoded = [value.encode(errors="surrogateescape") or None for value in values]
    return pa.array(encoded, pa.binary()).view(pa.string())
