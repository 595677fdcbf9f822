"""The beginning of a file, as much of it as shows what is in it: no more is downloaded."""

from __future__ import annotations

import io
import json
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet

from elt.catalogue import Column, Dataset
from elt.catalogue.model import Format
from elt.errors import PermanentError, PipelineError, first_line
from elt.formats.batches import Malformed
from elt.formats.parquet_reader import BATCH_ROWS
from elt.formats.raw_file import open_raw
from elt.sources import Place
from taxiway.entries.address import file_part, format_of, local

# Bytes of text that are looked at: some hundred thousand rows.
TEXT_BYTES = 20 * 2**20
# The end of a Parquet file that is asked for at once: most footers are shorter.
_FOOTER_BYTES = 2**20
_PIECE = 1 << 18
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Sample:
    """A file, or its beginning: `content` is unpacked, ends with a whole line and is read from its start.

    `whole` tells whether it is all of the file. Of a large Parquet file the footer and the first `most_rows`
    are looked at. `size` is the published file's, in bytes.
    """

    name: str
    format: Format
    delimiter: str
    content: BinaryIO
    whole: bool
    most_rows: int | None = None
    size: int | None = None

    @property
    def plain(self) -> Format:
        """The format of `content`."""
        return {"csv.gz": "csv", "jsonl.gz": "jsonl"}.get(self.format, self.format)  # type: ignore[return-value]


@contextmanager
def take(
    address: str, place: Place, form: Format | None, delimiter: str, most: int = TEXT_BYTES
) -> Iterator[Sample]:
    """Open a local file or a URL; format and delimiter are found out where they are not given.

    Of a text there are `most` bytes, and of a Parquet file of more bytes its footer and the first rows.
    elt.errors.PipelineError if it is not there, or its beginning is damaged.
    """
    path = local(address)
    with _Local(path) if path else _Remote(address, place) as file:
        name = file_part(str(path) if path else address)
        named, with_it = format_of(name)
        start = file.head(1 << 16)
        form = form or named or _sniff(start)
        if form == "parquet":
            content, whole = file.seekable(most)
            yield Sample(name, form, ",", content, whole, None if whole else BATCH_ROWS, file.size)
            return
        if form == "any" or b"\0" in _start(start):
            yield Sample(name, "any", ",", io.BytesIO(start), whole=False, size=file.size)
            return
        text, whole = _text(file.pieces(), most, packed=form.endswith(".gz"))
        found = delimiter or with_it or (_delimiter(text) if form.startswith("csv") else ",")
        yield Sample(name, form, found, io.BytesIO(text), whole, size=file.size)


def columns_as_text(names: Iterable[str]) -> tuple[Column, ...]:
    """Columns that take everything, for names as files have them."""
    return tuple(
        Column(f"column_{number}", "string", name, aliases=(name.strip(),), required=False)
        for number, name in enumerate(names)
    )


def provisional(sample: Sample, columns: tuple[Column, ...]) -> Dataset:
    """An entry by which the product's readers read a sample."""
    # One column that no file has: its name is the key, which is asked for nothing here.
    key = Column("taxiway_key", "string", "None.")
    return Dataset(
        "sample", "Sample", "https://example.com/sample", "sample", "taxiway_key", (key, *columns),
        sample.plain, delimiter=sample.delimiter,
    )  # fmt: skip


def declared(sample: Sample) -> pa.Schema | None:
    """The schema that a Parquet file declares; None for a file of text."""
    if sample.format != "parquet":
        return None
    sample.content.seek(0)
    try:
        return pyarrow.parquet.ParquetFile(sample.content, arrow_extensions_enabled=False).schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PermanentError(f"{sample.name}: corrupt Parquet ({first_line(error, 200)})") from None


def names(sample: Sample) -> list[str]:
    """Names of the columns of a file of text, in its order; more than one may be the same."""
    known: list[str] = []
    while True:
        sample.content.seek(0)
        raw = open_raw(sample.content, sample.name, provisional(sample, columns_as_text(known)), {})
        try:
            if raw.fields is None:
                return list(raw.schema.names[:-1])
            for _ in raw.batches:
                pass
            # The reader lists so many unknown names at most: what it did not know before, it does now.
            new = dict[str, str]()
            for name in raw.fields.unknown:
                if (lower := name.strip().lower()) not in _lower(known):
                    new.setdefault(lower, name)
        finally:
            raw.close()
        if not new or len(known) > 2000:
            return known
        known += new.values()


def _lower(given: Iterable[str]) -> set[str]:
    return {name.strip().lower() for name in given}


def _sniff(start: bytes) -> Format:
    """The format of a file whose name tells none."""
    if start.startswith(b"PAR1"):
        return "parquet"
    packed = start.startswith(b"\x1f\x8b")
    text = _start(start)
    try:
        # The end of it may be half a character.
        text[: text.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return "any"
    lines = [line for line in text.removeprefix(b"\xef\xbb\xbf").splitlines()[:20] if line.strip()]
    if lines and lines[0].lstrip().startswith(b"{"):
        # One object over many lines is no table.
        return "any" if not _is_json(lines[0]) else "jsonl.gz" if packed else "jsonl"
    best = max(DELIMITERS, key=lambda each: min((line.count(each.encode()) for line in lines), default=0))
    is_table = len(lines) > 1 and all(best.encode() in line for line in lines[:-1])
    return (
        ("csv.gz" if packed else "csv") if is_table and not text.lstrip().startswith((b"<", b"[")) else "any"
    )


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _delimiter(text: bytes) -> str:
    """The delimiter by which most lines have as many values as the header, the more the better."""
    beginning = text[: 1 << 18]
    beginning = beginning[: beginning.rfind(b"\n") + 1] or text

    def judged(delimiter: str) -> tuple[float, int]:
        sample = Sample("sample.csv", "csv", delimiter, io.BytesIO(beginning), whole=True)
        try:
            raw = open_raw(sample.content, sample.name, provisional(sample, ()), {})
        except PipelineError:
            return 0.0, 0
        rows = broken = 0
        try:
            for batch in raw.batches:
                if isinstance(batch, Malformed):
                    broken += batch.lines.num_rows
                else:
                    rows += (batch if hasattr(batch, "num_rows") else batch.rows).num_rows
        except PipelineError:
            return 0.0, 0
        finally:
            raw.close()
        columns = len(raw.schema) - 1
        return (rows + 1) / (rows + broken + 1) if columns > 1 else 0.1, columns

    return max(DELIMITERS, key=judged)


def _text(pieces: Iterable[bytes], most: int, *, packed: bool) -> tuple[bytes, bool]:
    """The beginning of a text, and whether it is all; without the line that is cut in two."""
    found = bytearray()
    for piece in _unpacked(pieces) if packed else pieces:
        found += piece
        if len(found) > most:
            text = bytes(found[:most])
            return text[: text.rfind(b"\n") + 1] or text, False
    return bytes(found), True


def _unpacked(pieces: Iterable[bytes], *, part: bool = False) -> Iterator[bytes]:
    """The content of a gzip file of one member or several; `part`: as far as it is there."""
    member: Any = None
    for piece in pieces:
        rest = piece
        while rest:
            if member is None or member.eof:
                # Some programs fill the last block of a tape or disk with zeros.
                rest = rest.lstrip(b"\0") if member else rest
                member = zlib.decompressobj(wbits=31)
            try:
                yield member.decompress(rest, _PIECE)
            except zlib.error as error:
                raise PermanentError(f"corrupt gzip ({error})") from None
            rest = member.unused_data if member.eof else member.unconsumed_tail
    if not part and not (member and member.eof):
        raise PermanentError("corrupt gzip (its end is missing)")


def _start(start: bytes) -> bytes:
    """The first bytes of a file, unpacked if they are packed."""
    return next(_unpacked([start], part=True), b"") if start.startswith(b"\x1f\x8b") else start


class _Local:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self._path, self.size = path, path.stat().st_size

    def __enter__(self) -> _Local:
        self._file = self._path.open("rb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def head(self, size: int) -> bytes:
        return self._file.read(size)

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(1 << 18):
            yield piece

    def seekable(self, most: int) -> tuple[BinaryIO, bool]:
        return self._file, self.size <= most


class _Remote:
    """A file of a publisher, in one request where its beginning is enough."""

    def __init__(self, url: str, place: Place) -> None:
        self._url, self._place, self._name = url, place, file_part(url) or url
        self._begun = b""
        self.size: int | None = None

    def __enter__(self) -> _Remote:
        self._opened = self._place.open(self._url, self._name)
        transfer = self._opened.__enter__()
        self.size = transfer.published.size
        self._rest = iter(transfer)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__(None, None, None)

    def head(self, size: int) -> bytes:
        while len(self._begun) < size and (piece := next(self._rest, b"")):
            self._begun += piece
        return self._begun

    def pieces(self) -> Iterator[bytes]:
        yield self._begun
        yield from self._rest

    def seekable(self, most: int) -> tuple[BinaryIO, bool]:
        size = self.size
        if size is not None and size > most:
            part = self._place.part(self._url, self._name, size - min(size, _FOOTER_BYTES), size)
            if part is not None:
                parts = {0: self._begun, size - len(part): part}
                return cast(BinaryIO, _Holes(size, parts, self._fetch)), False
        # A source that sends no parts, or no size: all of it, into a file that has no name.
        file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the sample
        for piece in self.pieces():
            file.write(piece)
        return file, file.tell() <= most

    def _fetch(self, start: int, end: int) -> bytes:
        return self._place.part(self._url, self._name, start, end) or b""


class _Holes(io.RawIOBase):
    """A large file of which a few parts are here; others are fetched when they are read."""

    def __init__(self, size: int, parts: Mapping[int, bytes], fetch: Callable[[int, int], bytes]) -> None:
        self._size, self._parts, self._fetch, self._at = size, dict(parts), fetch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        start, self._at = self._at, max(end, self._at)
        for begin, part in self._parts.items():
            if begin <= start and end <= begin + len(part):
                return part[start - begin : end - begin]
        return self._parts.setdefault(start, self._fetch(start, end))
