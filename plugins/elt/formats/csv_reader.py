"""CSV as Arrow batches: well-formed blocks by Arrow's parser, all others record by record."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from elt.catalogue.model import LONGEST_ROW
from elt.formats.batches import LINE, Batch, TooLong, Typed, lines, malformed, read_blocks
from elt.formats.csv_records import NOT_CSV, CsvRecords, Record, WellFormed

# Give up typed parsing after this many blocks with unparsable values: each costs a second pass.
_MISSES = 4
# As many as a table of BigQuery may have: each column costs memory for every block.
MOST_COLUMNS = 10_000


class CsvReader:
    """An open CSV file: `schema`, then its batches (once).

    Every value is text and an empty one is null, quoted or not. `types` names columns, in lower case, whose
    texts Arrow's parser reads as the very values that conform would cast them to: a block in which all of
    them fit comes as `Typed`, which is half the work.
    """

    def __init__(
        self, file: BinaryIO, delimiter: str, types: Mapping[str, pa.DataType], longest: int = LONGEST_ROW
    ) -> None:
        self._blocks, self._delimiter = read_blocks(file, longest), delimiter
        self._records = CsvRecords(delimiter, longest)
        try:
            self._names, self._first_rows = self._read_header(next(self._blocks))
        except BaseException:
            self.close()
            raise
        spelled = {name: name.strip().lower() for name in self._names}
        self._types = {name: types[key] for name, key in spelled.items() if key in types}
        self._misses = 0
        self.schema = pa.schema([pa.field(name, pa.string()) for name in (*self._names, LINE)])

    def _read_header(self, block: bytes | TooLong) -> tuple[list[str], bytes]:
        """The names of the columns, and the rest of the first block."""
        if isinstance(block, TooLong):
            raise ValueError(block.reason)  # noqa: TRY004 - of the class that means a corrupt file
        found = self._records.record(block)
        if found is None or found[0].reason:
            why = found[0].reason.removeprefix(NOT_CSV) if found else "a quote in its header is never closed"
            raise ValueError(why)
        header, end = found
        if len(header.values) > MOST_COLUMNS:
            raise ValueError(f"{len(header.values):,} columns, and {MOST_COLUMNS:,} at most are read")
        return [name.decode() for name in header.values] if header.text.strip() else [], block[end:]

    def __iter__(self) -> Iterator[Batch]:
        for chunk in self._records.chunks(chain([self._first_rows], self._blocks)):
            yield from self._by_record(chunk) if isinstance(chunk, list) else self._read(chunk)

    def close(self) -> None:
        """Stop reading ahead; the file stays open."""
        self._blocks.close()

    def _read(self, block: WellFormed) -> Iterator[Batch]:
        if self._types and self._misses < _MISSES and not _has_hexadecimals(block.data):
            table = self._parse(block, self._types)
            if table is not None:
                for batch in table.to_batches():
                    yield Typed(self._with_line(batch), partial(self._read_texts, block))
                return
            self._misses += 1
        yield from self._read_texts(block)

    def _read_texts(self, block: WellFormed) -> Iterator[Batch]:
        table = self._parse(block, {})
        if table is None:
            yield from self._by_record(self._records.split(block.data)[0])
            return
        for batch in table.to_batches():
            yield self._with_line(batch)

    def _with_line(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.append_column(LINE, pa.nulls(batch.num_rows, pa.string()))

    def _parse(self, well_formed: WellFormed, types: Mapping[str, pa.DataType]) -> pa.Table | None:
        """Parse well-formed bytes; None where a record is not one row, or a value not of its type."""
        block = well_formed.data
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(block),
                # One thread and one chunk: the block is small, and blocks are prefetched already.
                read_options=pa.csv.ReadOptions(
                    column_names=self._names, use_threads=False, block_size=len(block) + 1
                ),
                parse_options=pa.csv.ParseOptions(
                    delimiter=self._delimiter, newlines_in_values=well_formed.breaks > 0
                ),
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
        if any(
            pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py()
            for column in table.columns
        ):
            # Written so, or a number that no float64 can hold: the text tells.
            return None
        # What Arrow takes for a row and we do not, or the other way round: a blank line where there is one
        # column, and a carriage return on its own. Counting tells, and counting line ends is fast.
        if (len(self._names) > 1 or not _has_blank_lines(block)) and not _has_lone_returns(block):
            ends = block.count(b"\n") + (not block.endswith(b"\n"))
            if len(table) == ends - well_formed.breaks:
                return table
        records, _ = self._records.split(block)
        # Arrow drops a lone carriage return in silence where that makes no row.
        if any(record.reason for record in records):
            return None
        return table if len(table) == sum(bool(record.text) for record in records) else None

    def _by_record(self, records: list[Record]) -> Iterator[Batch]:
        rows: list[list[bytes]] = []
        broken: list[tuple[bytes, str]] = []
        for record in records:
            if record.reason:
                broken += [(line, record.reason) for line in lines(record.text)]
            elif len(record.values) == len(self._names) and record.text:
                rows.append(record.values)
            elif record.text:
                found = f"the line has {len(record.values)} values for {len(self._names)} columns"
                broken.append((record.text, found))
        if rows:
            # By way of bytes: conform checks which of them are UTF-8.
            columns = [
                pa.array([value or None for value in values], pa.binary()).view(pa.string())
                for values in zip(*rows, strict=True)
            ]
            yield pa.RecordBatch.from_arrays([*columns, pa.nulls(len(rows), pa.string())], schema=self.schema)
        if broken:
            yield malformed(broken, self.schema)


# Of two bytes, the rare one is looked for first: the other is in every number, or line.


def _has_hexadecimals(block: bytes) -> bool:
    """Whether there may be one: Arrow reads 0xFFFF as a whole number."""
    return (b"x" in block and b"0x" in block) or (b"X" in block and b"0X" in block)


def _has_lone_returns(block: bytes) -> bool:
    return b"\r" in block and block.count(b"\r") != block.count(b"\r\n")


def _has_blank_lines(block: bytes) -> bool:
    return block.startswith((b"\n", b"\r\n")) or b"\n\n" in block or b"\n\r\n" in block
