"""CSV split into records as RFC 4180 has it: a quoted value may hold delimiters, quotes and line breaks."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from elt.formats.batches import BLOCK, TooLong

NOT_CSV = "the line is not CSV: "
_LONE_CR = NOT_CSV + "a carriage return without a line feed; lines must end with LF or CRLF"
_UNCLOSED = NOT_CSV + "unexpected end of data"
_JUNK = NOT_CSV + "a quote ends inside the value"
# Records that interrupt the well-formed bytes of a block, before all others are read one by one.
_RESUMED = 50
# Possessive: a quote that is never closed would otherwise be looked for from every place behind it.
_QUOTED = rb'"([^"]*+(?:""[^"]*+)*+)"'


class Record(NamedTuple):
    """One row as published, without its line end, and its values; none where `reason` says why."""

    text: bytes
    values: list[bytes]
    reason: str = ""


class CsvRecords:
    """Splits text into records. Nothing else decides where one ends, so that no neighbour changes a row."""

    def __init__(self, delimiter: str, longest: int) -> None:
        self._longest = longest
        self._endless = f"{NOT_CSV}a quoted value of more than {longest:,} bytes, or a quote never closed"
        self._delimiter = delimiter.encode()
        mark = re.escape(self._delimiter)
        self._quoted = re.compile(_QUOTED)
        self._bare = re.compile(rb"[^\n" + mark + rb"]*+")
        # Each between delimiters, line ends or the text's own.
        opens, closes = rb"(?<![^\n" + mark + rb"])", rb"(?![^\r\n" + mark + rb"]|\r(?!\n|\Z))"
        self._well_formed = re.compile(rb'(?:[^"]*+' + opens + _QUOTED + closes + rb')*+[^"]*+')
        self._before, self._behind = np.zeros((2, 256), bool)
        self._before[[*b'\n"', *self._delimiter]] = True
        self._behind[[*b'\r\n"', *self._delimiter]] = True

    def chunks(self, blocks: Iterable[bytes | TooLong]) -> Iterator[bytes | list[Record]]:
        """Yield what blocks hold: whole records that all readers take alike, and others one by one.

        In the bytes quotes enclose values, and are nowhere else.
        """
        rest, endless = b"", False
        for block in blocks:
            if isinstance(block, TooLong):
                # Of what was begun before, nobody can tell how it goes on.
                yield [
                    *([Record(rest, [], _UNCLOSED)] if rest else []),
                    Record(block.beginning, [], block.reason),
                ]
                rest, endless = b"", False
                continue
            if endless:
                found = self.record(b'"' + block)
                end = len(block) if found is None else found[1] - 1
                yield [Record(block[:end], [], self._endless)]
                block, endless = block[end:], found is None
            data, rest = rest + block, b""
            for _ in range(_RESUMED):
                problem = self._first_problem(data)
                cut = _start_of_record(data, problem) if problem < len(data) else problem
                if cut:
                    yield data[:cut]
                found = self.record(data, cut) if cut < len(data) else None
                if found is None:
                    data, rest = b"", data[cut:]
                    break
                yield [found[0]]
                data = data[found[1] :]
            if data:
                records, rest = self.split(data)
                yield records
            if len(rest) > self._longest:
                yield [Record(rest, [], self._endless)]
                rest, endless = b"", True
        if rest:
            yield [Record(rest, [], _UNCLOSED)]

    def split(self, data: bytes) -> tuple[list[Record], bytes]:
        """Return the records one by one, and the beginning of one that ends behind the data."""
        records, position = list[Record](), 0
        while position < len(data) and (found := self.record(data, position)):
            records.append(found[0])
            position = found[1]
        return records, data[position:]

    def record(self, data: bytes, start: int = 0) -> tuple[Record, int] | None:
        """Read the record at `start`, and where the next one begins; None if it ends behind the data."""
        values, position, reason = list[bytes](), start, ""
        while True:
            quoted = self._quoted.match(data, position)
            if quoted is None and data.startswith(b'"', position):
                return None
            begin = quoted.end() if quoted else position
            bare = self._bare.match(data, begin)
            position = bare.end() if bare else begin
            text = data[begin:position]
            ends = not data.startswith(self._delimiter, position)
            if ends:
                text = text.removesuffix(b"\r")
            if quoted and text:
                reason = reason or _JUNK
            elif b"\r" in text:
                reason = reason or _LONE_CR
            values.append(quoted[1].replace(b'""', b'"') if quoted else text)
            if ends:
                whole = data[start:position].removesuffix(b"\r")
                return Record(whole, [] if reason else values, reason), position + 1
            position += len(self._delimiter)

    def breaks_within(self, data: bytes) -> int:
        """Count the line breaks in quotes, of well-formed bytes."""
        return sum(value.count(b"\n") for value in self._quoted.findall(data))

    def _first_problem(self, data: bytes) -> int:
        """Where the first quote is that encloses no value, or one that ends behind the data."""
        if b'"' not in data or self._encloses(data):
            return len(data)
        found = self._well_formed.match(data)
        return found.end() if found else 0

    def _encloses(self, data: bytes) -> bool:
        """Whether each quote encloses a value for certain; a third of the work of finding one that does not.

        Every other one opens: it stands behind a delimiter, a line end or, doubled, another that closes.
        Of a row that fills blocks nobody knows: the places of its quotes may take eight times its bytes.
        """
        if len(data) > 2 * BLOCK or not data.endswith(b"\n"):
            return False
        letters = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(letters == ord('"'))
        # The letter before the first one is the last one: a line end.
        return len(quotes) % 2 == 0 and bool(
            self._before[letters[quotes[::2] - 1]].all() and self._behind[letters[quotes[1::2] + 1]].all()
        )


def _start_of_record(data: bytes, position: int) -> int:
    """Where the record begins in which `position` is; all quotes before it are in pairs."""
    end = position
    while (newline := data.rfind(b"\n", 0, end)) >= 0:
        if data.count(b'"', newline, position) % 2 == 0:
            return newline + 1
        end = newline
    return 0
