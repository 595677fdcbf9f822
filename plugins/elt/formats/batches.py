"""What a reader hands to conform, and a text file as blocks of whole lines, in the memory of a few blocks."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import BinaryIO, NamedTuple, TypeAlias

import pyarrow as pa

from elt.formats.prefetch import prefetch

# Files of text lines get this column after their own: the line as published, where it is known.
LINE = "source_line"
# Bytes. A block becomes a batch, and three of them are in memory at once.
BLOCK = 1 << 20
# Bytes that quarantine keeps of a row that is too long.
BEGINNING = 1 << 16


class TooLong(NamedTuple):
    """The beginning of a line that is longer than `most`, and its size in bytes."""

    beginning: bytes
    size: int
    most: int

    @property
    def reason(self) -> str:
        """Why it is not read."""
        return f"the line has {self.size:,} bytes, and {self.most:,} at most are read: this is its beginning"


class Malformed(NamedTuple):
    """Lines that cannot be split into columns: rows that are null except for LINE, and one reason each."""

    lines: pa.RecordBatch
    reasons: list[str]


class Typed(NamedTuple):
    """Rows that the reader has typed while parsing, and how to get some of them as the file's own texts."""

    rows: pa.RecordBatch
    texts: Callable[[Sequence[int]], Iterable["Batch"]]


Batch: TypeAlias = pa.RecordBatch | Malformed | Typed


def malformed(broken: list[tuple[bytes, str]], schema: pa.Schema) -> Malformed:
    """Keep lines as they are, each with its reason, in the schema of their file (LINE last).

    Bytes that are not UTF-8 become backslash escapes.
    """
    nulls = [pa.nulls(len(broken), field.type) for field in schema][:-1]
    texts = pa.array([line.decode(errors="backslashreplace") for line, _ in broken], pa.string())
    rows = pa.RecordBatch.from_arrays([*nulls, texts], schema=schema)
    return Malformed(rows, [reason for _, reason in broken])


def read_blocks(file: BinaryIO, longest: int) -> Generator[bytes | TooLong, None, None]:
    """Yield blocks of about a MiB, each of whole lines, without byte order mark and leading blank lines.

    Of a line of more than `longest` bytes (a block at least) there is the beginning only. An empty file is
    one empty block. Close the generator when done: it prefetches in a thread.
    """

    def whole_lines() -> Iterator[bytes | TooLong]:
        rest: list[bytes] = []
        while piece := file.read(BLOCK):
            cut = piece.rfind(b"\n") + 1
            if rest and cut and sum(map(len, rest)) + piece.index(b"\n") > longest:
                end = piece.index(b"\n")
                whole = b"".join((*rest, piece[:end]))
                yield TooLong(whole[:BEGINNING], len(whole), longest)
                piece, cut, rest = piece[end + 1 :], cut - end - 1, []
            if cut:
                yield b"".join((*rest, memoryview(piece)[:cut]))
                rest = [piece[cut:]]
                continue
            # Joined only once the line is complete: adding to one long text would copy it every time.
            rest.append(piece)
            if sum(map(len, rest)) > longest:
                line, rest = too_long(b"".join(rest))
                yield line
        if any(rest):
            yield b"".join(rest)

    def too_long(begun: bytes) -> tuple[TooLong, list[bytes]]:
        """Pass over the rest of a line; also return what was read behind it."""
        size = len(begun)
        while piece := file.read(BLOCK):
            end = piece.find(b"\n")
            if end >= 0:
                return TooLong(begun[:BEGINNING], size + end, longest), [piece[end + 1 :]]
            size += len(piece)
        return TooLong(begun[:BEGINNING], size, longest), []

    # Gunzipping releases Python's lock: the next blocks are unpacked while this one is split.
    with closing(prefetch(whole_lines(), 2)) as blocks:
        first = next(blocks, b"")
        yield first if isinstance(first, TooLong) else first.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
        yield from blocks


def lines(block: bytes) -> list[bytes]:
    """Return the lines of a block that are not empty, without their line ends."""
    return [line for line in (end.rstrip(b"\r") for end in block.split(b"\n")) if line]
