"""A transfer as a stream for an upload: checksummed, and refused before its end if it is a bad file."""

import hashlib
from collections.abc import Mapping

from elt.catalogue import Format
from elt.errors import PermanentError
from elt.sources.client import Transfer

MEDIA_TYPES: Mapping[Format, str] = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
    "csv.gz": "application/gzip",
    "jsonl": "application/x-ndjson",
    "jsonl.gz": "application/gzip",
    "any": "application/octet-stream",
}
_MAGIC = b"PAR1"
_GZIP = b"\x1f\x8b"
_MARKUP = (b"<!doctype", b"<?xml")
# Bytes that tell a web page from a file.
_ENOUGH = 64


class Reader:
    """`read` and `tell` over a transfer.

    A web page, another kind of file or a truncated one raises before the last bytes are handed
    out, so that an upload fed by it cannot complete: its object never becomes visible.
    """

    def __init__(self, transfer: Transfer, name: str, form: Format) -> None:
        self._pieces, self._name, self._form = iter(transfer), name, form
        self._pending = bytearray()
        self._hash = hashlib.sha256()
        self._tail = b""
        self._received = self._given = 0
        self._judged = self._ended = False

    @property
    def checksum(self) -> str:
        """SHA-256 (hexadecimal) of what was read so far."""
        return self._hash.hexdigest()

    def tell(self) -> int:
        """Bytes handed out so far."""
        return self._given

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        # One byte more than asked for tells whether this is the end, which has to be judged first.
        while not self._ended and len(self._pending) <= max(size, _ENOUGH):
            self._receive()
        data = bytes(memoryview(self._pending)[:size])
        del self._pending[:size]
        self._hash.update(data)
        self._given += len(data)
        return data

    def _receive(self) -> None:
        piece = next(self._pieces, b"")
        self._pending += piece
        self._tail = (self._tail + piece[-4:])[-4:]
        self._received += len(piece)
        self._ended = not piece
        if not self._judged and (self._ended or len(self._pending) > _ENOUGH):
            check_beginning(self._name, self._form, bytes(self._pending[:_ENOUGH]))
            self._judged = True
        if self._ended:
            check_end(self._name, self._form, self._tail, self._received)


def check_beginning(name: str, form: Format, first: bytes) -> None:
    """Refuse what shows in a file's first bytes."""
    start = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not first:
        raise PermanentError(f"{name}: empty")
    # What is no table may well be XML.
    if start.startswith((b"<!doctype html", b"<html")) or (form != "any" and start.startswith(_MARKUP)):
        raise PermanentError(f"{name}: an HTML or XML page instead of the file")
    if form == "parquet" and not first.startswith(_MAGIC):
        raise PermanentError(f"{name}: not Parquet (it begins with {first[:4]!r})")
    if form.endswith(".gz") and not first.startswith(_GZIP):
        raise PermanentError(f"{name}: not gzip (it begins with {first[:4]!r})")


def check_end(name: str, form: Format, last: bytes, size: int) -> None:
    """Refuse a Parquet file without its end: its index is there."""
    if form == "parquet" and (last != _MAGIC or size < 12):
        raise PermanentError(f"{name}: truncated (its Parquet footer is missing after {size:,} bytes)")
