"""An API's pages: in one raw object, byte for byte, and the records in them. Neither needs Arrow.

The object is a JSON text sequence (RFC 7464): each page stands between a byte that JSON cannot have and a
line feed, so that a page may have line breaks. A page is never parsed as a whole: its objects would take ten
times the memory of its text, and its numbers would be rounded. Records are cut out of the text.
"""

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

# What begins a page in the object.
MARK = b"\x1e"
# Bytes of a page, which is in memory as a whole, as text too.
LONGEST_PAGE = 16 * 2**20
_BLOCK = 1 << 20
_BLANK = re.compile(r"[ \t\n\r]*")
# RFC 8259 forbids them in a text, so they can only be blanks between its parts.
_BREAKS = {ord("\n"): " ", ord("\r"): " "}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


# Numbers stay texts: they are passed over, and Python refuses to parse a very long one.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def framed(page: bytes) -> bytes:
    """A page as it stands in the object."""
    return b"%b%b\n" % (MARK, page)


class Page:
    """One page; ValueError if it is not JSON, here or in its methods.

    A path names members within members: `data.items`; the empty one is the page itself.
    """

    def __init__(self, content: bytes) -> None:
        if MARK in content:
            raise ValueError("it has a control character")
        self._text = content.decode("utf-8-sig")

    def check(self) -> None:
        """ValueError unless the whole page is one JSON value."""
        self._find("")

    def value(self, path: str) -> str | None:
        """The text or number at a path, as a text; None if there is nothing, or null, false or an empty text.

        A ValueError for anything else.
        """
        place = self._find(path)
        if place is None:
            return None
        written = self._text[slice(*place)]
        if written in ("null", "false"):
            return None
        if written[0] in "{[" or written == "true":
            raise ValueError(f"its {path} is {written[:40]}, and has to be a text or a number")
        return str(_DECODER.decode(written)) or None

    def records(self, path: str) -> Iterator[str]:
        """The texts of the records at a path: a list's items, or one object; none where there is null."""
        place = self._find(path)
        if place is None:
            names = ", ".join(_Walk(self._text).names()[:20]) or "none"
            raise ValueError(f"it has no {path or 'records'} (its names: {names})")
        start, end = place
        written = self._text[start : start + 4]
        if written.startswith("["):
            walk = _Walk(self._text, start)
            for _ in walk.items():
                begun = walk.at
                walk.skip()
                yield self._text[begun : walk.at]
        elif written.startswith("{"):
            yield self._text[start:end]
        elif written != "null":
            raise ValueError(f"its {path or 'text'} is no list of records")

    def _find(self, path: str) -> tuple[int, int] | None:
        walk = _Walk(self._text)
        found = walk.find(path.split(".") if path else [])
        walk.end()
        return found


class _Walk:
    """A place `at` which a JSON text is read, value by value."""

    def __init__(self, text: str, at: int = 0) -> None:
        self._text, self.at = text, at
        self._blank()

    def find(self, path: list[str]) -> tuple[int, int] | None:
        """Pass over the value, and say where in it the value at a path begins and ends."""
        if not path:
            begun = self.at
            self.skip()
            return begun, self.at
        if self._next() != "{":
            self.skip()
            return None
        found, times = None, 0
        for name in self.members():
            if name != path[0]:
                self.skip()
                continue
            times += 1
            if times > 1:
                raise ValueError(f"it has {name} twice")
            found = self.find(path[1:])
        return found

    def names(self) -> list[str]:
        """The names of an object's members; none of anything else."""
        found = []
        if self._next() == "{":
            for name in self.members():
                found.append(name)
                self.skip()
        return found

    def skip(self) -> None:
        """Pass over a value. Of the outer ones only one part at a time is in memory."""
        if self._next() == "[":
            for _ in self.items():
                self._decode()
        elif self._next() == "{":
            for _ in self.members():
                if self._next() == "[":
                    self.skip()
                else:
                    self._decode()
        else:
            self._decode()

    def items(self) -> Iterator[None]:
        """Stop before each item of a list; whoever reads has to pass over it."""
        yield from self._parts("]")

    def members(self) -> Iterator[str]:
        """Stop before the value of each member of an object, with its name; as `items`."""
        for _ in self._parts("}"):
            name = self._decode() if self._next() == '"' else None
            if not isinstance(name, str):
                raise self._wrong()
            self._blank()
            self._take(":")
            yield name

    def end(self) -> None:
        """ValueError unless the text ends here."""
        self._blank()
        if self.at != len(self._text):
            raise self._wrong()

    def _parts(self, closing: str) -> Iterator[None]:
        self.at += 1
        self._blank()
        if self._next() == closing:
            self.at += 1
            return
        while True:
            yield
            self._blank()
            if self._next() == closing:
                self.at += 1
                return
            self._take(",")

    def _next(self) -> str:
        return self._text[self.at : self.at + 1]

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise self._wrong()
        self.at += 1
        self._blank()

    def _blank(self) -> None:
        found = _BLANK.match(self._text, self.at)
        self.at = found.end() if found else self.at

    def _decode(self) -> object:
        try:
            value, self.at = _DECODER.raw_decode(self._text, self.at)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        return value

    def _wrong(self) -> ValueError:
        return ValueError(f"it is no JSON after {self.at:,} characters")


def read_pages(file: BinaryIO) -> Iterator[Page]:
    """Go through the pages of a raw object; ValueError where it is damaged."""
    rest = bytearray()
    begun = False
    while block := file.read(_BLOCK):
        *ended, last = block.split(MARK)
        for part in ended:
            rest += part
            if begun:
                yield _page(bytes(rest))
            elif rest:
                raise ValueError("it does not begin with a page")
            rest.clear()
            begun = True
        rest += last
        if len(rest) > LONGEST_PAGE + _BLOCK:
            raise ValueError(f"a page of more than {LONGEST_PAGE:,} bytes")
    if not begun:
        raise ValueError("it has no page")
    yield _page(bytes(rest))


def _page(framed_page: bytes) -> Page:
    if not framed_page.endswith(b"\n"):
        raise ValueError("it ends within a page")
    return Page(framed_page[:-1])


class Records:
    """The records of all pages as JSON lines: a file for `JsonlReader`."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._lines = (
            f"{record.translate(_BREAKS)}\n".encode()
            for page in read_pages(file)
            for record in page.records(path)
        )
        self._ready = bytearray()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end."""
        for line in self._lines:
            self._ready += line
            if len(self._ready) >= size:
                break
        given = bytes(memoryview(self._ready)[:size])
        del self._ready[:size]
        return given
