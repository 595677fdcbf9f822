"""Parquet as Arrow batches: the columns that somebody knows, in pieces of bounded bytes."""

from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from itertools import groupby
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from elt.catalogue.model import LONGEST_ROW
from elt.formats.batches import BEGINNING, Malformed
from elt.formats.parquet_pages import Chunk, PageSizes, check_footer, page_headers, row_groups
from elt.formats.spill import side_by_side, spilled

# A batch has so many rows, and so many bytes of text, at most: a file of a few kB can hold one long text and
# a million references to it.
BATCH_ROWS, BATCH_BYTES = 16_384, 8 * 2**20
# Bytes that the rows of a batch may take. Beside them unpacked pages may take so many times the longest row.
_ROOM, _LONGEST_ROWS = 8 * 2**20, 4
# Bytes of a value in Arrow. INT96 is read three times.
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 24}
# Bytes read at once, of each column.
_BUFFER = 1 << 18
# What INT96 holds is exact in milliseconds for all its days, in microseconds for 292,000 years around 1970,
# and in nanoseconds for less than 300 of them.
_STORABLE = ("0001-01-01", "9999-12-31T23:59:59.999")
_IN_NANOSECONDS = ("1678-01-01", "2262-01-01")
# Arrow filters no views, and has few functions for halves.
_PLAIN = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary(), pa.float16(): pa.float32()}


class _Plan(NamedTuple):
    """How to read a row group: rows at once, and the columns whose texts come by a dictionary.

    `beside` has the columns by what may be unpacked side by side: all, unless they are many.
    """

    rows: int
    texts: tuple[str, ...]
    beside: tuple[tuple[str, ...], ...]


class ParquetReader:
    """An open Parquet file: `schema`, `rows` as it announces them, the columns `unread`, its batches (once).

    `known` are names in lower case. Texts come as numbers that refer to a dictionary, or as they are.
    """

    def __init__(self, source: BinaryIO, known: Set[str], longest: int = LONGEST_ROW) -> None:
        self._source, self._longest = source, longest
        check_footer(source)
        parquet = self._open()
        self._metadata = parquet.metadata
        found, unread = list[pa.Field](), list[str]()
        for field in parquet.schema_arrow:
            if field.name.strip().lower() in known:
                found.append(field)
            else:
                unread.append(field.name)
        leaves = {leaf.path: leaf for leaf in (parquet.schema.column(n) for n in range(len(parquet.schema)))}
        self._leaves = {field.name: leaves[field.name] for field in found if field.name in leaves}
        plain = [field.with_type(self._plain_type(field)) for field in found]
        self.schema, self.unread, self.rows = pa.schema(plain), tuple(unread), parquet.metadata.num_rows
        self._int96 = [name for name, leaf in self._leaves.items() if leaf.physical_type == "INT96"]
        self._texts = {field.name for field in found if is_text(field.type)}

    def _plain_type(self, field: pa.Field) -> pa.DataType:
        leaf = self._leaves.get(field.name)
        if leaf is None or leaf.physical_type != "FIXED_LEN_BYTE_ARRAY":
            return _PLAIN.get(field.type, field.type)
        if leaf.logical_type.type == "UUID":
            return pa.string()
        # What has another meaning, like an interval, is no text.
        annotated = (leaf.logical_type.type, leaf.converted_type) != ("NONE", "NONE")
        return _PLAIN.get(field.type, field.type) if annotated else pa.binary()

    def __iter__(self) -> Generator[pa.RecordBatch | Malformed, None, None]:
        for batch in self._batches():
            yield from _in_pieces(batch, self._longest)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        groups = row_groups(self._source, frozenset(self._leaves))
        plans = [self._plan(number, chunks) for number, chunks in enumerate(groups)]
        if len(plans) != self._metadata.num_row_groups:
            raise ValueError("its footer cannot be read")
        for plan, numbers in groupby(range(len(plans)), plans.__getitem__):
            if len(plan.beside) == 1:
                yield from self._read(plan, list(numbers), *plan.beside)
            else:
                for number in numbers:
                    yield from self._read_apart(plan, number)

    def _read_apart(self, plan: _Plan, group: int) -> Iterator[pa.RecordBatch]:
        """A row group some columns after the others: side by side, their pages would take too much."""
        with ExitStack() as files:
            parts = [files.enter_context(spilled(self._read(plan, [group], names))) for names in plan.beside]
            for batch in side_by_side(parts):
                yield batch.select(self.schema.names)

    def _plan(self, group: int, chunks: Mapping[str, Chunk]) -> _Plan:
        """How to read a row group; ValueError if there is no way that takes bounded memory."""
        rate, texts = 0, list[str]()
        room = most = _LONGEST_ROWS * self._longest + _ROOM
        # Columns by the part in which they are read.
        part, parts = 0, dict[str, int]()
        for name, chunk in chunks.items():
            pages = PageSizes(page_headers(self._source, chunk), chunk.packed, name in self._texts)
            # Arrow keeps room for a value of fixed length even where there is none.
            taken = pages.taken * (3 if name in self._int96 else 1) + max(self._leaves[name].length, 0)
            if taken > most:
                raise ValueError(
                    f"unpacked, the pages of {name} take {taken:,} bytes, and {most:,} at most are read. "
                    f"Write smaller pages, or longest_row={taken // _LONGEST_ROWS + 1} in the entry"
                )
            if taken > room:
                room, part = most, part + 1
            room -= taken
            parts[name] = part
            if name in self._texts and pages.coded and not pages.others:
                texts.append(name)
            rate += self._rate(group, name, pages)
        rows = min(BATCH_ROWS, max(1, _ROOM // max(rate, 1)))
        # Nested ones, of whose leaves nothing is known, in the first.
        beside = (
            tuple(n for n in self.schema.names if parts.get(n, 0) == number) for number in range(part + 1)
        )
        return _Plan(rows, tuple(texts), tuple(beside))

    def _rate(self, group: int, name: str, pages: PageSizes) -> int:
        """Bytes that a row of a column takes, page by page at most."""
        kind = self._leaves[name].physical_type
        if kind != "BYTE_ARRAY":
            return _WIDTHS.get(kind) or int(self._leaves[name].length)
        if name not in self._texts:
            return pages.rate or pages.dictionary
        if not pages.others:
            # References to a dictionary, whatever the texts.
            return _WIDTHS["INT32"]
        if not pages.coded:
            return pages.rate
        # Most of its texts are in the dictionary, until that was full.
        texts = next(iter(self._columns(1, [group], [name], read_dictionary=[name]))).column(0)
        known = pa.types.is_dictionary(texts.type) and pages.coded_first
        longest = pc.max(pc.binary_length(texts.dictionary)).as_py() or 0 if known else pages.dictionary
        return max(pages.rate, longest)

    def _read(self, plan: _Plan, groups: list[int], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        def columns(names: Sequence[str], unit: str, texts: Sequence[str]) -> Iterator[pa.RecordBatch]:
            how = {"coerce_int96_timestamp_unit": unit, "read_dictionary": texts}
            return self._columns(plan.rows, groups, names, **how)

        int96 = [name for name in names if name in self._int96]
        others = [columns(int96, unit, ()) for unit in ("ms", "ns") if int96]
        for batch in columns(names, "us", plan.texts):
            if batch.schema.names != list(names):
                raise ValueError(f"its columns cannot be told apart by their names: {batch.schema.names}")
            beside = [next(other) for other in others]
            for name in int96:
                moments = _moments(batch.column(name), *(other.column(name) for other in beside))
                batch = batch.set_column(batch.schema.names.index(name), name, moments)
            for index, name in enumerate(names):
                array = batch.column(index)
                if array.type in _PLAIN or _is_fixed(array.type):
                    batch = batch.set_column(index, name, _plain(array, self.schema.field(name).type))
            yield batch

    def _columns(
        self, rows: int, groups: list[int], names: Sequence[str], **how: Any
    ) -> Iterator[pa.RecordBatch]:
        parquet = self._open(metadata=self._metadata, **how)
        return iter(parquet.iter_batches(rows, row_groups=groups, columns=list(names), use_threads=False))

    def _open(self, **how: Any) -> pa.parquet.ParquetFile:
        return pa.parquet.ParquetFile(
            self._source,
            # pyarrow's defaults read whole column chunks ahead: memory would grow with the file.
            buffer_size=_BUFFER,
            pre_buffer=False,
            page_checksum_verification=True,
            # JSON is text to us.
            arrow_extensions_enabled=False,
            **how,
        )


def is_text(kind: pa.DataType) -> bool:
    """Whether values are bytes of any length, legible or not."""
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(check(kind) for check in checks)


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(getattr(kind, "storage_type", kind)))


def _plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Values in a type that all of Arrow's functions know; a UUID (16 bytes) as its text."""
    array = getattr(array, "storage", array)
    if not pa.types.is_fixed_size_binary(array.type) or kind != pa.string():
        return array.cast(kind)
    digits = (None if value is None else value.hex() for value in array.to_pylist())
    return pa.array([h and f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in digits], pa.string())


def _moments(us: pa.Array, ms: pa.Array, ns: pa.Array) -> pa.Array:
    """Moments of INT96 in microseconds; as text where one is not exact in them, or no store can hold it."""

    def within(limits: tuple[str, str]) -> pa.BooleanArray:
        first, last = (pa.scalar(limit, pa.string()).cast(ms.type) for limit in limits)
        return pc.and_(pc.greater_equal(ms, first), pc.less_equal(ms, last))

    number = pa.int64()
    finer = pc.not_equal(ns.cast(number), pc.multiply(us.cast(number), 1000))
    finer = pc.and_(finer, within(_IN_NANOSECONDS))
    beyond = pc.invert(within(_STORABLE))
    if not pc.any(pc.or_(finer, beyond)).as_py():
        return us
    texts = pc.if_else(finer, ns.cast(pa.string()), us.cast(pa.string()))
    return pc.if_else(beyond, pa.scalar("a day beyond the year 9999 (INT96)", pa.string()), texts)


def _in_pieces(batch: pa.RecordBatch, longest: int) -> Iterator[pa.RecordBatch | Malformed]:
    """A batch in slices whose texts take BATCH_BYTES at most; a longer text is in a slice of its own.

    A row whose texts take more than `longest` bytes is malformed.
    """
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
    room = min(BATCH_BYTES, longest)
    if sizes is None or (pc.sum(sizes).as_py() or 0) <= room:
        yield batch
        return
    start = total = 0
    for index, size in enumerate([*sizes.to_pylist(), room + 1]):
        if total + size > room and index > start:
            piece = batch.slice(start, index - start)
            yield _too_long(piece, total, longest) if total > longest else piece
            start, total = index, 0
        total += size


def _too_long(row: pa.RecordBatch, size: int, longest: int) -> Malformed:
    """One row whose texts are too long, by their beginnings."""
    columns = []
    for column in row.columns:
        array = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if is_text(array.type):
            (value,) = array.cast(pa.large_binary()).to_pylist()
            array = pa.array([None if value is None else value[:BEGINNING]], pa.binary())
        columns.append(array)
    reason = f"the row has {size:,} bytes of text, and {longest:,} at most are read: these begin them"
    return Malformed(pa.RecordBatch.from_arrays(columns, row.schema.names), [reason])
