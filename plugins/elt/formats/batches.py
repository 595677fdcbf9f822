"""What a reader hands to conform, and a text file as blocks of whole lines, in the memory of a few blocks."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import pyarrow as pa

from elt.formats.prefetch import prefetch

# Files of text lines get this column after their own: the line as published, where it is known.
LINE = "source_line"
# Bytes. A block becomes a batch, and three of them are in memory at once.
BLOCK = 1 << 20
# Bytes of a line, or of a value of Parquet. A longer one is quarantined by its beginning: it would be in
# memory several times over.
LONGEST = 16 * BLOCK
BEGINNING = 1 << 16


class TooLong(NamedTuple):
    """The beginning of a line that is longer than LONGEST, and its size in bytes."""

    beginning: bytes
    size: int

    @property
    def reason(self) -> str:
        """Why it is not read."""
        return f"the line has {self.size:,} bytes, and {LONGEST >> 20} MiB at most are read: its beginning"


class Malformed(NamedTuple):
    """Lines that cannot be split into columns: rows that are null except for LINE, and one reason each."""

    lines: pa.RecordBatch
    reasons: list[str]


class Typed(NamedTuple):
    """Rows that the reader has typed while parsing, and how to get them again as the file's own texts."""

    rows: pa.RecordBatch
    texts: Callable[[], Iterable["Batch"]]


Batch: TypeAlias = pa.RecordBatch | Malformed | Typed


def malformed(broken: list[tuple[bytes, str]], schema: pa.Schema) -> Malformed:
    """Keep lines as they are, each with its reason, in the schema of their file (LINE last).

    Bytes that are not UTF-8 become backslash escapes.
    """
    nulls = [pa.nulls(len(broken), field.type) for field in schema][:-1]
    texts = pa.array([line.decode(errors="backslashreplace") for line, _ in broken], pa.string())
    rows = pa.RecordBatch.from_arrays([*nulls, texts], schema=schema)
    return Malformed(rows, [reason for _, reason in broken])


def gunzip(file: BinaryIO) -> BinaryIO:
    """Return the content of a gzip file, of one member or several, as a file."""
    # Three times as fast as zlib, and imported only where a file needs it.
    from isal import igzip

    content: BinaryIO = igzip.IGzipFile(fileobj=file)  # type: ignore[no-untyped-call,assignment]
    return content


class Gunzip:
    """Checks gzip content, of one member or several, while it arrives: nothing of it is kept."""

    def __init__(self) -> None:
        from isal import isal_zlib

        self._zlib = isal_zlib
        self._member = self._new()

    def _new(self) -> Any:
        return self._zlib.decompressobj(wbits=16 + self._zlib.MAX_WBITS)

    @property
    def ended(self) -> bool:
        """Whether nothing is missing."""
        return bool(self._member.eof)

    def feed(self, data: bytes) -> None:
        """Take the next bytes; ValueError if they are damaged."""
        full = False
        try:
            while data or full:
                if self._member.eof:
                    # Some programs fill the last block of a tape or disk with zeros.
                    data = data.lstrip(b"\0")
                    if not data:
                        return
                    self._member = self._new()
                full = len(self._member.decompress(data, BLOCK)) == BLOCK
                data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        except self._zlib.error as error:  # type: ignore[misc]  # isal's stub calls it an instance
            raise ValueError(str(error)) from None


def read_blocks(file: BinaryIO) -> Generator[bytes | TooLong, None, None]:
    """Yield blocks of about a MiB, each of whole lines, without byte order mark and leading blank lines.

    An empty file is one empty block. Close the generator when done: it prefetches in a thread.
    """

    def whole_lines() -> Iterator[bytes | TooLong]:
        rest: list[bytes] = []
        while piece := file.read(BLOCK):
            cut = piece.rfind(b"\n") + 1
            if cut:
                yield b"".join((*rest, piece[:cut]))
                rest = [piece[cut:]]
                continue
            # Joined only once the line is complete: adding to one long text would copy it every time.
            rest.append(piece)
            if sum(map(len, rest)) > LONGEST:
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
                return TooLong(begun[:BEGINNING], size + end), [piece[end + 1 :]]
            size += len(piece)
        return TooLong(begun[:BEGINNING], size), []

    # Gunzipping releases Python's lock: the next blocks are unpacked while this one is split.
    with closing(prefetch(whole_lines(), 2)) as blocks:
        first = next(blocks, b"")
        yield first if isinstance(first, TooLong) else first.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
        yield from blocks


def lines(block: bytes) -> list[bytes]:
    """Return the lines of a block that are not empty, without their line ends."""
    return [line for line in (end.rstrip(b"\r") for end in block.split(b"\n")) if line]
