"""A text file as blocks of whole lines, gunzipped where needed, in the memory of a few blocks."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import BinaryIO

from elt.formats.prefetch import prefetch

# Bytes. A block becomes a batch, and three of them are in memory at once.
BLOCK = 1 << 20
# Bytes. A line has to fit into memory; something longer is not a text file.
LONGEST = 64 * BLOCK
_BOM = b"\xef\xbb\xbf"


def gunzip(file: BinaryIO) -> BinaryIO:
    """Return the content of a gzip file, of one member or several, as a file."""
    # Three times as fast as zlib, and imported only where a file needs it.
    from isal import igzip

    content: BinaryIO = igzip.IGzipFile(fileobj=file)  # type: ignore[no-untyped-call,assignment]
    return content


def _blocks(file: BinaryIO) -> Iterator[bytes]:
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
            raise ValueError(f"a line of more than {LONGEST >> 20} MiB")
    if any(rest):
        yield b"".join(rest)


def read_blocks(file: BinaryIO) -> Generator[bytes, None, None]:
    """Yield blocks of about a MiB, each of whole lines, without byte order mark and leading blank lines.

    An empty file is one empty block. Raises ValueError for a line longer than LONGEST. Close the generator
    when done: it prefetches in a thread.
    """
    # Gunzipping releases Python's lock: the next blocks are unpacked while this one is split.
    with closing(prefetch(_blocks(file), 2)) as blocks:
        yield next(blocks, b"").removeprefix(_BOM).lstrip(b"\r\n")
        yield from blocks


def lines(block: bytes) -> list[bytes]:
    """Return the lines of a block that are not blank, without their line ends."""
    return [line for line in (end.rstrip(b"\r") for end in block.split(b"\n")) if line.strip()]


def legible(line: bytes) -> str:
    """Return a line as text, with bytes that are not UTF-8 as backslash escapes."""
    return line.decode(errors="backslashreplace")
