"""What the pages of a Parquet file unpack to, as its footer and page headers say. Nothing is unpacked here.

Arrow unpacks a page whole, into as much memory as the page's header announces, and refuses one that holds
anything else. So the headers tell what reading takes before it is taken. pyarrow shows no page headers, and
ends the process when asked about an encrypted column: both are read here, from Thrift's compact protocol.
"""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

# Bytes of a footer, which becomes about ten times as many in memory, and of a page's header.
LONGEST_FOOTER, _LONGEST_HEADER = 16 * 2**20, 16 * 2**20
_FIRST_READ = 512
# Thrift's types.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
# Encodings of a page: references to a dictionary, lengths before texts, what texts share with each other.
_CODED, _LENGTHS, _SHARED = (2, 8), 6, 7
# Bytes that Arrow takes for a text of a dictionary beside it, and for the lengths of one before it reads it.
_ENTRY, _LENGTH = 20, 8
# A dictionary of texts: the page, what Arrow looks texts up in, and copies for the batches on their way.
_COPIES = 4


class Chunk(NamedTuple):
    """A column in a row group: where its pages are in the file, and whether they are packed."""

    start: int
    size: int
    values: int
    packed: bool


class PageHeader(NamedTuple):
    """A page: its bytes in the file and unpacked, values and encoding."""

    dictionary: bool
    packed: int
    unpacked: int
    values: int
    encoding: int


class PageSizes:
    """What a chunk's pages come to.

    `dictionary` is its bytes, `taken` those of the dictionary and the largest page while Arrow reads it,
    `rate` those of a row in the page where rows are widest. `coded` and `others` say whether there are pages
    that refer to the dictionary and others, `coded_first` whether the first one refers to it.
    """

    def __init__(self, pages: Iterable[PageHeader], packed: bool, texts: bool) -> None:
        self.dictionary = self.rate = largest = entries = 0
        self.coded = self.others = self.coded_first = False
        for page in pages:
            size = max(page.packed, page.unpacked)
            takes = size + (page.packed if packed else 0)
            if page.dictionary:
                self.dictionary = max(self.dictionary, size)
                if texts:
                    takes += (_COPIES - 1) * size + page.values * _ENTRY
                entries = max(entries, takes)
                continue
            if page.encoding in _CODED:
                self.coded_first = self.coded_first or not self.others
                self.coded = True
            else:
                self.others = True
                # A text may be all of its page and nothing, and so may the one behind it.
                rows = 1 if page.encoding == _SHARED else max(page.values, 1)
                self.rate = max(self.rate, -(-size // rows))
            if page.encoding in (_LENGTHS, _SHARED):
                takes += page.values * _LENGTH
            largest = max(largest, takes)
        self.taken = entries + largest


class _Compact:
    """A place `at` which values of Thrift's compact protocol are read; IndexError where data ends."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at

    def fields(self) -> Iterator[tuple[int, int]]:
        """Stop at each field of a struct, with its number and type; whoever reads has to pass over it."""
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else _signed(self._varint())
            yield number, byte & 15

    def struct(self) -> dict[tuple[int, int], Any]:
        """The fields of a struct by number and type: another type than is expected is no such field."""
        return {(number, kind): self.value(kind) for number, kind in self.fields()}

    def items(self) -> tuple[int, int]:
        """How many items a list has, and their type; whoever reads has to pass over each."""
        byte = self._byte()
        return (self._varint() if byte >> 4 == 15 else byte >> 4), byte & 15

    def value(self, kind: int) -> Any:
        """Pass over a value, and return it unless it is of no use here."""
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in (_I16, _I32, _I64):
            value = self._varint()
            return _signed(value & 0xFFFFFFFF if kind == _I32 else value)
        if kind == _BINARY:
            size = self._varint()
            self._pass(size)
            return self._data[self.at - size : self.at]
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            count, of = self.items()
            return [self._item(of) for _ in range(count)]
        if kind == _MAP:
            return self._map()
        self._pass({_BYTE: 1, _DOUBLE: 8}[kind])
        return None

    def _item(self, kind: int) -> Any:
        # A truth value stands within its field's type, but is a byte of a list.
        return self._byte() == _TRUE if kind in (_TRUE, _FALSE) else self.value(kind)

    def _map(self) -> None:
        if count := self._varint():
            kinds = self._byte()
            for _ in range(count):
                self._item(kinds >> 4)
                self._item(kinds & 15)

    def _pass(self, size: int) -> None:
        self.at += size
        if self.at > len(self._data):
            raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        # Most are one byte, and a file has tens of thousands of them.
        data, at = self._data, self.at
        value, shift = data[at] & 127, 7
        while data[at] > 127:
            at += 1
            if shift > 63:
                raise KeyError
            value |= (data[at] & 127) << shift
            shift += 7
        self.at = at + 1
        return value


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def check_footer(file: BinaryIO) -> None:
    """ValueError if the footer is longer than LONGEST_FOOTER. Whether it is one, Arrow says."""
    size = _footer_size(file)
    if size > LONGEST_FOOTER:
        raise ValueError(f"its footer has {size:,} bytes, and {LONGEST_FOOTER:,} at most are read")


def _footer_size(file: BinaryIO) -> int:
    end = file.seek(0, 2)
    file.seek(max(end - 8, 0))
    size = int.from_bytes(file.read(4), "little")
    # Longer than the file: no footer at all.
    return size if size <= end else 0


def row_groups(file: BinaryIO, columns: frozenset[str]) -> Iterator[dict[str, Chunk]]:
    """The chunks of some columns (paths of leaves) in each row group; ValueError if one is encrypted."""
    size = _footer_size(file)
    file.seek(-8 - size, 2)
    at = _Compact(file.read(size))
    try:
        for number, kind in at.fields():
            if (number, kind) != (4, _LIST):
                at.value(kind)
                continue
            count, of = at.items()
            for _ in range(count):
                # One at a time: as Python's objects they take twenty times the room.
                yield _chunks(at.value(of).get((1, _LIST), []), columns)
    except (IndexError, KeyError, AttributeError, RecursionError):
        raise ValueError("its footer cannot be read") from None


def _chunks(found: list[Any], columns: frozenset[str]) -> dict[str, Chunk]:
    chunks = {}
    for chunk in found:
        about = chunk.get((3, _STRUCT), {})
        path = b".".join(about.get((3, _LIST), [])).decode(errors="replace")
        if (8, _STRUCT) in chunk and (not path or path in columns):
            raise ValueError("it is encrypted")
        if path in columns:
            first, dictionary = about[9, _I64], about.get((11, _I64), 0)
            start = dictionary if 0 < dictionary < first else first
            chunks[path] = Chunk(start, about[7, _I64], about[5, _I64], about[4, _I32] != 0)
    return chunks


def page_headers(file: BinaryIO, chunk: Chunk) -> Iterator[PageHeader]:
    """The headers of a chunk's pages, those that Arrow would read; ValueError where there is none."""
    position, values = chunk.start, 0
    while values < chunk.values and position < chunk.start + chunk.size:
        header, size = _header(file, position)
        kind, unpacked, packed = (header.get((number, _I32), -1) for number in (1, 2, 3))
        if unpacked < 0 or packed < 0:
            raise ValueError("a page of less than no bytes")
        position += size + packed
        if kind == _DICTIONARY:
            about = header.get((7, _STRUCT), {})
            yield PageHeader(True, packed, unpacked, max(about.get((1, _I32), 0), 0), 0)
        elif kind in (_DATA, _DATA_V2):
            about = header.get((5 if kind == _DATA else 8, _STRUCT), {})
            count = max(about.get((1, _I32), 0), 0)
            encoding = about.get((2 if kind == _DATA else 4, _I32), 0)
            values += count
            yield PageHeader(False, packed, unpacked, count, encoding)


def _header(file: BinaryIO, position: int) -> tuple[dict[tuple[int, int], Any], int]:
    size = _FIRST_READ
    while size <= _LONGEST_HEADER:
        file.seek(position)
        data = file.read(size)
        at = _Compact(data)
        try:
            return at.struct(), at.at
        except IndexError:
            if len(data) < size:
                break
            # It holds the page's least and greatest value, which may be long.
            size *= 8
        except (KeyError, RecursionError):
            break
    raise ValueError("a page whose header cannot be read")
