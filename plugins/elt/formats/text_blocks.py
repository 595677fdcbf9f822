"""A file of text lines in blocks of whole lines, gunzipped where need be: memory of one block."""

from collections.abc import Iterator
from typing import BinaryIO

from elt.formats.prefetch import ahead

BLOCK = 1 << 20
# Nothing that people call a line is longer, and it has to fit into memory.
LONGEST = 64 * BLOCK
_BOM = b"\xef\xbb\xbf"


def gunzip(file: BinaryIO) -> BinaryIO:
    """The content of a gzip file as a file."""
    from isal import igzip  # three times as fast as zlib; only where a file needs it

    content: BinaryIO = igzip.IGzipFile(fileobj=file)  # type: ignore[no-untyped-call,assignment]
    return content


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """About a MiB each, cut after a line's end. ValueError for what has no lines."""
    rest = b""
    while piece := file.read(BLOCK):
        cut = piece.rfind(b"\n") + 1
        if not cut:
            rest += piece
            if len(rest) > LONGEST:
                raise ValueError(f"a line of more than {LONGEST >> 20} MiB")
            continue
        yield rest + piece[:cut]
        rest = piece[cut:]
    if rest:
        yield rest


def without_bom(file: BinaryIO) -> Iterator[bytes]:
    """The file's blocks, the first without a byte order mark and blank lines before its first line."""
    # Gunzipping does without Python's lock: the next blocks are made while this one is split.
    pieces = ahead(blocks(file), 2)
    yield next(pieces, b"").removeprefix(_BOM).lstrip(b"\r\n")
    yield from pieces


def lines(block: bytes) -> list[bytes]:
    """The lines of a block that are not blank, without their ends."""
    return [line for line in (end.rstrip(b"\r") for end in block.split(b"\n")) if line.strip()]


def legible(line: bytes) -> str:
    """A line as text, whatever its bytes."""
    return line.decode(errors="backslashreplace")
