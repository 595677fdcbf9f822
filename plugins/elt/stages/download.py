"""Source → raw/: the published bytes in one pass, checksummed, and broken off before a bad file ends."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from elt.catalogue import Format
from elt.connections import Connections
from elt.errors import PermanentError, SourceNotPublishedError
from elt.formats.gzip_content import Gunzip
from elt.layout import raw_object
from elt.provenance import Loaded, Origin
from elt.sources import Source
from elt.sources.changes import is_unchanged
from elt.stage_request import StageRequest
from elt.stores.gcs import Content, Lake, Stored
from elt.warehouse.load_log import record

MEDIA_TYPES: Mapping[Format, str] = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
    "csv.gz": "application/gzip",
    "jsonl": "application/x-ndjson",
    "jsonl.gz": "application/gzip",
    "any": "application/octet-stream",
}
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_MARKUP = (b"<!doctype", b"<?xml")
# Bytes that are enough to tell a web page from a file.
_ENOUGH = 64


def download(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Bring a published file into the lake, unless that very file is there."""
    with connections.source(request.dataset) as source, connections.lake() as lake:
        stored = lake.find(raw_object(request.dataset, request.period))
        reused = False
        if stored is not None and not request.force:
            # Most often nothing has changed: a HEAD is cheaper than a download that is begun and given up.
            published = source.probe(request.period)
            if published is None:
                raise SourceNotPublishedError(f"{request.file}: not published at {source.base_url}")
            reused = is_unchanged(stored, published, source.base_url)
        if stored is None or not reused:
            stored = _transfer(request, source, lake)
    facts = stored.metadata
    # Raw bytes are of no schema, so nothing of the catalogue makes them outdated.
    origin = Origin(facts["checksum"], "", facts["source_etag"] or None, source.base_url)
    with connections.warehouse() as warehouse:
        record(warehouse, request, "raw", Loaded(origin, 0, 0, stored.size), repeated=reused)
    return request.result(
        object=stored.name,
        bytes=stored.size,
        reused=reused,
        checksum=origin.checksum,
        source_etag=origin.source_etag,
        source_url=facts["source_url"],
    )


def _transfer(request: StageRequest, source: Source, lake: Lake) -> Stored:
    with source.open(request.period) as transfer:
        published = transfer.published
        reader = Reader(transfer, request.file, request.dataset.file_format)
        facts = {
            **request.names,
            "source": source.base_url,
            "source_url": published.url,
            "source_etag": published.etag or "",
            "source_last_modified": published.last_modified or "",
        }
        content = Content(reader, published.size, MEDIA_TYPES[request.dataset.file_format], facts)
        stored = lake.write(raw_object(request.dataset, request.period), content)
    # Only now is the checksum known. Until the object has it, it counts as incomplete.
    return lake.describe(stored, {"checksum": reader.checksum})


class Reader:
    """`read` and `tell` over a transfer's pieces, for an upload.

    A web page, a file of another format, a truncated one and a damaged gzip raise PermanentError before the
    last bytes are handed out: the upload cannot complete, and its object never becomes visible.
    """

    def __init__(self, pieces: Iterable[bytes], name: str, form: Format) -> None:
        self._pieces, self._name, self._form = iter(pieces), name, form
        self._pending = bytearray()
        self._hash = hashlib.sha256()
        self._tail = b""
        self._received = self._given = 0
        self._begun = self._ended = False
        self._gzip = Gunzip() if form.endswith(".gz") else None

    @property
    def checksum(self) -> str:
        """SHA-256 (hexadecimal) of what was read so far."""
        return self._hash.hexdigest()

    def tell(self) -> int:
        """Bytes handed out so far."""
        return self._given

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        # One byte beyond `size` shows whether this is the end, which has to be checked before it is given.
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
        if not self._begun and (self._ended or len(self._pending) > _ENOUGH):
            self._check_beginning(bytes(self._pending[:_ENOUGH]))
            self._begun, piece = True, bytes(self._pending)
        if self._gzip is not None and self._begun:
            self._check_gzip(self._gzip, piece)
        # A Parquet file's index is at its end; a text file's end cannot be told from its middle.
        if self._ended and self._form == "parquet" and (self._tail != _PARQUET or self._received < 12):
            raise PermanentError(
                f"{self._name}: truncated (its Parquet footer is missing after {self._received:,} bytes)"
            )

    def _check_gzip(self, gzip: Gunzip, piece: bytes) -> None:
        try:
            gzip.feed(piece)
        except ValueError as error:
            raise PermanentError(f"{self._name}: corrupt gzip ({error})") from None
        if self._ended and not gzip.ended:
            raise PermanentError(
                f"{self._name}: truncated (its gzip content goes on after {self._received:,} bytes)"
            )

    def _check_beginning(self, first: bytes) -> None:
        name, form = self._name, self._form
        start = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if not first:
            raise PermanentError(f"{name}: empty")
        # A file that is no table may well be XML.
        if start.startswith((b"<!doctype html", b"<html")) or (form != "any" and start.startswith(_MARKUP)):
            raise PermanentError(f"{name}: an HTML or XML page instead of the file")
        if form == "parquet" and not first.startswith(_PARQUET):
            raise PermanentError(f"{name}: not Parquet (it begins with {first[:4]!r})")
        if form.endswith(".gz") and not first.startswith(_GZIP):
            raise PermanentError(f"{name}: not gzip (it begins with {first[:4]!r})")
