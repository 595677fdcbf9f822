"""CSV split into records as RFC 4180 has it: a quoted value may hold delimiters, quotes and line breaks."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from elt.formats.batches import TooLong

NOT_CSV = "the line is not CSV: "
_LONE_CR = NOT_CSV + "a carriage return without a line feed; lines must end with LF or CRLF"
_UNCLOSED = NOT_CSV + "unexpected end of data"
_JUNK = NOT_CSV + "a quote ends inside the value"
# Records that interrupt the well-formed bytes of a block, before all others are read one by one.
_RESUMED = 50
# Possessive: a quote that is never closed would otherwise be looked for from every place behind it.
_QUOTED = rb'"([^"]*+(?:""[^"]*+)*+)"'
# The same without line breaks, which is most values: half the work.
_QUOTED_LINE = rb'"[^"\n]*+(?:""[^"\n]*+)*+"'


class Record(NamedTuple):
    """One row as published, without its line end, and its values; none where `reason` says why."""

    text: bytes
    values: list[bytes]
    reason: str = ""


class WellFormed(NamedTuple):
    """Whole records whose quotes enclose values, and are nowhere else; `breaks` are line breaks in quotes."""

    data: bytes
    breaks: int


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
        self._well_formed, self._on_one_line = (
            re.compile(rb'(?:[^"]*+' + opens + quoted + closes + rb')*+[^"]*+')
            for quoted in (_QUOTED, _QUOTED_LINE)
        )

    def chunks(self, blocks: Iterable[bytes | TooLong]) -> Iterator[WellFormed | list[Record]]:
        """Yield what blocks hold: whole lines that all readers take alike, and other records one by one."""
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
                problem, on_one_line = self._first_problem(data)
                cut = _start_of_record(data, problem) if problem < len(data) else problem
                if cut:
                    yield WellFormed(data[:cut], 0 if on_one_line else self._breaks_within(data[:cut]))
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

    def _breaks_within(self, data: bytes) -> int:
        return sum(value.count(b"\n") for value in self._quoted.findall(data))

    def _first_problem(self, data: bytes) -> tuple[int, bool]:
        """Where the first quote is that encloses no value, or one that ends behind the data.

        And whether no quoted value before it holds a line break.
        """
        if b'"' not in data or self._end(self._on_one_line, data) == len(data):
            return len(data), True
        return self._end(self._well_formed, data), False

    def _end(self, pattern: re.Pattern[bytes], data: bytes) -> int:
        found = pattern.match(data)
        return found.end() if found else 0


def _start_of_record(data: bytes, position: int) -> int:
    """Where the record begins in which `position` is; all quotes before it are in pairs."""
    end = position
    while (newline := data.rfind(b"\n", 0, end)) >= 0:
        if data.count(b'"', newline, position) % 2 == 0:
            return newline + 1
        end = newline
    return 0
