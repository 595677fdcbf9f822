"""CSV as Arrow batches. A line is a row; one that cannot be split into columns is kept as it is."""

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from elt.formats.batches import LINE, Batch, Typed, lines, malformed, read_blocks

# Give up typed parsing after this many blocks with unparsable values: each costs a second pass.
_MISSES = 4
# As many as a table of BigQuery may have: each column costs memory for every block.
MOST_COLUMNS = 10_000
_LONE_CR = "a carriage return without a line feed; lines must end with LF or CRLF"


class CsvReader:
    """An open CSV file: `schema`, then its batches (once).

    Every value is text and an empty one is null, quoted or not. `types` names columns, in lower case, whose
    texts Arrow's parser reads as the very values that conform would cast them to: a block in which all of
    them fit comes as `Typed`, which is half the work.
    """

    def __init__(self, file: BinaryIO, delimiter: str, types: Mapping[str, pa.DataType]) -> None:
        self._blocks, self._delimiter = read_blocks(file), delimiter
        try:
            head, _, self._first_rows = next(self._blocks).partition(b"\n")
            self._names = self._split(head.decode()) if head.strip() else []
        except BaseException:
            self.close()
            raise
        if len(self._names) > MOST_COLUMNS:
            self.close()
            raise ValueError(f"{len(self._names):,} columns, and {MOST_COLUMNS:,} at most are read")
        spelled = {name: name.strip().lower() for name in self._names}
        self._types = {name: types[key] for name, key in spelled.items() if key in types}
        self._misses = 0
        self.schema = pa.schema([pa.field(name, pa.string()) for name in (*self._names, LINE)])

    def __iter__(self) -> Iterator[Batch]:
        yield from self._read(self._first_rows)
        for block in self._blocks:
            yield from self._read(block)

    def close(self) -> None:
        """Stop reading ahead; the file stays open."""
        self._blocks.close()

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

    def _parse(self, block: bytes, types: Mapping[str, pa.DataType]) -> pa.Table | None:
        """Parse a block; None where a line is not one row, or a value not of its type."""
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(block),
                # One thread and one chunk: the block is small, and blocks are prefetched already.
                read_options=pa.csv.ReadOptions(
                    column_names=self._names, use_threads=False, block_size=len(block) + 1
                ),
                parse_options=pa.csv.ParseOptions(delimiter=self._delimiter),
                convert_options=pa.csv.ConvertOptions(
                    column_types={name: types.get(name, pa.string()) for name in self._names},
                    # Arrow's own list has "NA" and "null": texts that somebody published.
                    strings_can_be_null=True,
                    null_values=[""],
                    # One byte that is not UTF-8 would reject the whole block; conform checks each row.
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        # A stray quote merges lines into one row without an Arrow error. Counting line ends is enough, and
        # fast, unless something makes up for a merged line: a blank line, which Arrow takes for a row if
        # there is one column, or a carriage return, which ends a line for Arrow, though not for us.
        ends = block.count(b"\n") + (not block.endswith(b"\n"))
        if len(table) == ends and len(self._names) > 1 and b"\r" not in block:
            return table
        return table if len(table) == len(lines(block)) else None

    def _read_by_line(self, block: bytes) -> Iterator[Batch]:
        rows: list[list[str]] = []
        broken: list[tuple[bytes, str]] = []
        for line in lines(block):
            try:
                row = self._split(line.decode(errors="surrogateescape"))
            except ValueError as error:
                broken.append((line, f"the line is not CSV: {error}"))
                continue
            if len(row) == len(self._names):
                rows.append(row)
            else:
                broken.append((line, f"the line has {len(row)} values for {len(self._names)} columns"))
        if rows:
            # By way of bytes: Arrow refuses text with surrogates, which stand for bytes that are not UTF-8.
            encoded = [[value.encode(errors="surrogateescape") or None for value in row] for row in rows]
            columns = [
                pa.array(values, pa.binary()).view(pa.string()) for values in zip(*encoded, strict=True)
            ]
            yield pa.RecordBatch.from_arrays([*columns, pa.nulls(len(rows), pa.string())], schema=self.schema)
        if broken:
            yield malformed(broken, self.schema)

    def _split(self, line: str) -> list[str]:
        """Split a line as Arrow does, which forgives text after a closing quote but no quote left open.

        ValueError says why it cannot be split.
        """
        line = line.rstrip("\r")
        quote_is_open = False

        def only_line() -> Iterator[str]:
            nonlocal quote_is_open
            yield line
            # The csv module asks for a second line only where the first ended within quotes. Its errors
            # are all of one class, so this tells them apart.
            quote_is_open = True

        try:
            return next(csv.reader(only_line(), delimiter=self._delimiter, strict=True))
        except csv.Error:
            if quote_is_open:
                raise ValueError("unexpected end of data") from None
        try:
            return next(csv.reader([line], delimiter=self._delimiter))
        except csv.Error as error:
            why = str(error)
        if "\r" in line:
            # Of a lone carriage return the csv module speaks as if to its programmer.
            try:
                next(csv.reader([line.replace("\r", " ")], delimiter=self._delimiter))
                why = _LONE_CR
            except csv.Error as another:
                why = str(another)
        raise ValueError(why)
