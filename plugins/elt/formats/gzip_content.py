"""Gzip: the content of a file, and the check of one that is passing by. Neither needs Arrow."""

from typing import Any, BinaryIO

# Bytes that are unpacked at once.
_PIECE = 1 << 20


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
                full = len(self._member.decompress(data, _PIECE)) == _PIECE
                data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        except self._zlib.error as error:  # type: ignore[misc]  # isal's stub calls it an instance
            raise ValueError(str(error)) from None
