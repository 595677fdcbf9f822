"""CSV as Arrow batches: well-formed blocks by Arrow's parser, all others record by record."""

import math
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from elt.catalogue.model import LONGEST_ROW
from elt.formats.batches import BLOCK, LINE, Batch, TooLong, Typed, lines, malformed, read_blocks
from elt.formats.csv_records import NOT_CSV, CsvRecords, Record

# Give up typed parsing of a column after this many blocks with unparsable values, and of a block after as
# many such columns: each costs another pass.
_MISSES = 4
# What Arrow says then, with the number of the column.
_MISFIT = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error")
_LF = ord("\n")
# Blocks parsed side by side: parsing takes twice as long as all that is done with their rows afterwards.
_AT_ONCE = 2
# As many as a table of BigQuery may have: each column costs memory for every block.
MOST_COLUMNS = 10_000


class CsvReader:
    """An open CSV file: `schema`, then its batches (once).

    Every value is text and an empty one is null, quoted or not. `types` names columns, in lower case, whose
    texts Arrow's parser reads as the very values that conform would cast them to, which is half the work. A
    block in which all texts of one of them fit comes as `Typed`.
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
        self._misses = Counter[str]()
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
        with ThreadPoolExecutor(_AT_ONCE, "parse") as pool:
            parsed = deque[Future[list[Batch]]]()
            for chunk in self._records.chunks(chain([self._first_rows], self._blocks)):
                # Alone: what may take as much memory as a long row, the few records that are read one by one,
                # and blocks that may show what the next one is to be read as.
                unsettled = any(misses < _MISSES for misses in list(self._misses.values()))
                if isinstance(chunk, list) or len(chunk) > 2 * BLOCK or unsettled:
                    yield from _results(parsed, 0)
                    yield from self._by_record(chunk) if isinstance(chunk, list) else self._read(chunk)
                else:
                    parsed.append(pool.submit(lambda block: list(self._read(block)), chunk))
                    yield from _results(parsed, _AT_ONCE)
            yield from _results(parsed, 0)

    def close(self) -> None:
        """Stop reading ahead; the file stays open."""
        self._blocks.close()

    def _read(self, block: bytes) -> Iterator[Batch]:
        types = {name: kind for name, kind in self._types.items() if self._misses[name] < _MISSES}
        yield from self._batches(block, {} if _has_hexadecimals(block) else types)

    def _batches(self, block: bytes, types: dict[str, pa.DataType]) -> Iterator[Batch]:
        table = self._parse(block, types)
        if table is None:
            yield from self._by_record(self._records.split(block)[0])
            return
        for batch in table.to_batches():
            rows = batch.append_column(LINE, pa.nulls(batch.num_rows, pa.string()))
            yield Typed(rows, partial(self._texts, block)) if types else rows

    def _texts(self, block: bytes, rows: Sequence[int]) -> Iterator[Batch]:
        # Parsed before, with as many rows: nothing of it is malformed.
        yield from pa.Table.from_batches(self._batches(block, {})).take(rows).to_batches()

    def _parse(self, block: bytes, types: dict[str, pa.DataType]) -> pa.Table | None:
        """Parse well-formed bytes; None where a record is not one row.

        Columns with a value that is not of their type leave `types`, and come as texts. After some of them
        all others do: each costs another pass.
        """
        few = len(types) - _MISSES
        while True:
            try:
                table = self._parsed(block, types)
            except pa.ArrowInvalid as error:
                misfit = _MISFIT.match(str(error))
                if misfit is None:
                    return None
                misfits = [self._names[int(misfit[1])]]
            else:
                # Written so, or a number that no float64 can hold: the text tells.
                columns = zip(self._names, table.columns, strict=True)
                misfits = [name for name, column in columns if _has_infinities(column)]
                if not misfits:
                    return table if self._has_all_rows(block, len(table)) else None
            for name in misfits:
                types.pop(name, None)
                self._misses[name] += 1
            if len(types) < few:
                types.clear()

    def _parsed(self, block: bytes, types: Mapping[str, pa.DataType]) -> pa.Table:
        return pa.csv.read_csv(
            pa.BufferReader(block),
            # One thread and one chunk: the block is small, and blocks are prefetched already.
            read_options=pa.csv.ReadOptions(
                column_names=self._names, use_threads=False, block_size=len(block) + 1
            ),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types={name: types.get(name, pa.string()) for name in self._names},
                # Arrow's own list has "NA" and "null": texts that somebody published.
                strings_can_be_null=True,
                null_values=[""],
                # One byte that is not UTF-8 would reject the whole block; conform checks each row.
                check_utf8=False,
            ),
        )

    def _has_all_rows(self, block: bytes, rows: int) -> bool:
        # What Arrow takes for a row and we do not, or the other way round: a blank line where there is one
        # column, and a carriage return on its own. Counting tells, and counting line ends is fast.
        if (len(self._names) > 1 or not _has_blank_lines(block)) and not _has_lone_returns(block):
            ends = np.count_nonzero(np.frombuffer(block, np.uint8) == _LF) + (not block.endswith(b"\n"))
            if rows == ends or rows == ends - self._records.breaks_within(block):
                return True
        records, _ = self._records.split(block)
        # Arrow drops a lone carriage return in silence where that makes no row.
        return not any(record.reason for record in records) and rows == sum(
            bool(record.text) for record in records
        )

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


def _results(parsed: deque[Future[list[Batch]]], most: int) -> Iterator[Batch]:
    """The batches of the first blocks, until so many blocks are left."""
    while len(parsed) > most:
        yield from parsed.popleft().result()


def _has_infinities(column: pa.ChunkedArray) -> bool:
    # A sum shows at a glance that there is none, but for sums that no float64 can hold.
    return bool(
        pa.types.is_floating(column.type)
        and not math.isfinite(pc.sum(column).as_py() or 0)
        and pc.any(pc.is_inf(column)).as_py()
    )


# Of two bytes, the rare one is looked for first: the other is in every number, or line.


def _has_hexadecimals(block: bytes) -> bool:
    """Whether there may be one: Arrow reads 0xFFFF as a whole number."""
    return (b"x" in block and b"0x" in block) or (b"X" in block and b"0X" in block)


def _has_lone_returns(block: bytes) -> bool:
    return b"\r" in block and block.count(b"\r") != block.count(b"\r\n")


def _has_blank_lines(block: bytes) -> bool:
    return block.startswith((b"\n", b"\r\n")) or b"\n\n" in block or b"\n\r\n" in block
