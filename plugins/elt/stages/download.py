"""Source → raw/: the published bytes in one pass, checksummed, and broken off before a bad file ends."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, cast

from elt.catalogue import Format
from elt.connections import Connections
from elt.errors import PermanentError, SourceNotPublishedError
from elt.formats.gzip_content import Gunzip
from elt.formats.prefetch import prefetch
from elt.layout import raw_folder, raw_object
from elt.periods import Partition
from elt.provenance import Loaded, Origin, read_size
from elt.sources import Incoming, ShardedSource, Source
from elt.sources.changes import is_unchanged
from elt.sources.files import as_one
from elt.stage_request import StageRequest
from elt.stages.shards import Shard, in_lake, manifest
from elt.stores.gcs import Content, Lake, Stored
from elt.warehouse.load_log import record

MEDIA_TYPES: Mapping[Format, str] = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
    "csv.gz": "application/gzip",
    "jsonl": "application/x-ndjson",
    "jsonl.gz": "application/gzip",
    # RFC 7464: an API's pages.
    "pages": "application/json-seq",
    "any": "application/octet-stream",
}
# Pieces that are received ahead: as much as the lake is sent at once.
AHEAD = 12
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_MARKUP = (b"<!doctype", b"<?xml")
# Bytes that are enough to tell a web page from a file.
_ENOUGH = 64


def download(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Bring a published file, or all files of a partition, into the lake, unless they are there."""
    with connections.source(request.dataset) as source, connections.lake() as lake:
        result, loaded = bring(request, source, lake)
    with connections.warehouse() as warehouse:
        record(warehouse, request, "raw", loaded, repeated=result["reused"])
    return result


def bring(request: StageRequest, source: Source, lake: Lake) -> tuple[dict[str, Any], Loaded]:
    """The same without a row in the load log: what `download` returns, and what is to be logged."""
    stored = lake.find(raw_object(request.dataset, request.period))
    reused = False
    if stored is not None and not request.force:
        # Most often nothing has changed: a HEAD is cheaper than a download that is begun and given up.
        published = source.probe(request.period)
        if published is None:
            raise SourceNotPublishedError(f"{request.file}: not published at {source.base_url}")
        reused = is_unchanged(stored, published, source.base_url) and (
            not request.dataset.sharded or in_lake(request, lake, stored) is not None
        )
    if stored is None or not reused:
        if request.dataset.sharded:
            stored = _transfer_all(request, cast(ShardedSource, source), lake)
        else:
            stored = _transfer(request, source, lake)
    facts = stored.metadata
    # Raw bytes are of no schema, so nothing of the catalogue makes them outdated.
    origin = Origin(facts["checksum"], "", facts["source_etag"] or None, source.base_url)
    result = request.result(
        object=stored.name,
        bytes=read_size(stored),
        reused=reused,
        checksum=origin.checksum,
        source_etag=origin.source_etag,
        source_url=facts["source_url"],
    )
    return result, Loaded(origin, 0, 0, read_size(stored))


def _transfer(request: StageRequest, source: Source, lake: Lake) -> Stored:
    # A file of several periods is each one's, and is called by its own.
    file = Partition(request.dataset.name, request.dataset.file_period(request.period))
    facts = {**request.names, **({"month": file.key} if file.key else {}), "source": source.base_url}
    with source.open(request.period) as transfer:
        return _store(
            request, lake, transfer, request.file, raw_object(request.dataset, request.period), facts
        )


def _store(
    request: StageRequest, lake: Lake, transfer: Incoming, name: str, target: str, facts: Mapping[str, str]
) -> Stored:
    """Write one file; its reader calls it `name`."""
    published, form = transfer.published, request.dataset.file_format
    # Whoever writes several files leaves some without a row.
    may_be_empty = request.dataset.sharded and form in ("csv", "jsonl")
    about = {
        **facts,
        "source_url": published.url,
        "source_etag": published.etag or "",
        "source_last_modified": published.last_modified or "",
    }
    with closing(Reader(transfer, name, form, may_be_empty=may_be_empty)) as reader:
        stored = lake.write(target, Content(reader, published.size, MEDIA_TYPES[form], about))
    # Only now is the checksum known. Until the object has it, it counts as incomplete.
    return lake.describe(stored, {"checksum": reader.checksum})


def _transfer_all(request: StageRequest, source: ShardedSource, lake: Lake) -> Stored:
    """Bring all files of a partition into a folder of this state of theirs; last of all, the manifest.

    Until then the one there is stays, and the files it names: nothing is half of one state and half of
    another. A run that was killed is continued, as long as the source's files are the same.
    """
    shards = source.shards(request.period)
    together = as_one(source.url(request.period), shards)
    folder = raw_folder(request.dataset, request.period, str(together.etag))
    there = {stored.name: stored for stored in lake.list(folder)}
    brought = []
    for published in shards:
        name = published.url.rpartition("/")[2]
        stored = there.get(folder + name)
        if request.force or stored is None or not is_unchanged(stored, published, source.base_url):
            with source.open_shard(published) as transfer:
                # Without the partition's names: only its manifest is the partition.
                stored = _store(request, lake, transfer, name, folder + name, {"source": source.base_url})
        brought.append(Shard(name, stored.name, stored.size, stored.metadata["checksum"]))
    facts = {"source": source.base_url, "source_url": together.url, "source_etag": str(together.etag)}
    done = manifest(request, lake, brought, facts)
    for old in list(lake.list(raw_folder(request.dataset, request.period))):
        if old.name != done.name and not old.name.startswith(folder):
            lake.remove(old.name)
    return done


class Reader:
    """`read` and `tell` over a transfer's pieces, for an upload.

    A web page, a file of another format, a truncated one and a damaged gzip raise PermanentError before the
    last bytes are handed out: the upload cannot complete, and its object never becomes visible.
    """

    def __init__(
        self, pieces: Iterable[bytes], name: str, form: Format, *, may_be_empty: bool = False
    ) -> None:
        # Received, and hashed, while what came before is sent on and the lake's answer is awaited.
        self._pieces, self._name, self._form = prefetch(self._hashed(pieces), AHEAD), name, form
        self._may_be_empty = may_be_empty
        self._pending = deque[bytes]()
        self._held = 0
        self._hash = hashlib.sha256()
        self._tail = b""
        self._received = self._given = 0
        self._begun = self._ended = False
        self._gzip = Gunzip() if form.endswith(".gz") else None

    @property
    def checksum(self) -> str:
        """SHA-256 (hexadecimal) of the file, once all of it was read."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Receive no more."""
        self._pieces.close()

    def _hashed(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._hash.update(piece)
            yield piece

    def tell(self) -> int:
        """Bytes handed out so far."""
        return self._given

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        # One byte beyond `size` shows whether this is the end, which has to be checked before it is given.
        while not self._ended and self._held <= max(size, _ENOUGH):
            self._receive()
        data = self._take(size)
        self._given += len(data)
        return data

    def _take(self, size: int) -> bytes:
        """What is to be given out, copied once."""
        taken, left = list[bytes](), size
        while left and self._pending:
            piece = self._pending.popleft()
            if len(piece) > left:
                self._pending.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        self._held -= size - left
        return b"".join(taken)

    def _receive(self) -> None:
        piece = next(self._pieces, b"")
        if piece:
            self._pending.append(piece)
            self._held += len(piece)
        self._tail = (self._tail + piece[-4:])[-4:]
        self._received += len(piece)
        self._ended = not piece
        if not self._begun and (self._ended or self._held > _ENOUGH):
            piece = b"".join(self._pending)
            self._check_beginning(piece[:_ENOUGH])
            self._begun = True
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
        if not first and not self._may_be_empty:
            raise PermanentError(f"{name}: empty")
        # A file that is no table may well be XML.
        if start.startswith((b"<!doctype html", b"<html")) or (form != "any" and start.startswith(_MARKUP)):
            raise PermanentError(f"{name}: an HTML or XML page instead of the file")
        if form == "parquet" and not first.startswith(_PARQUET):
            raise PermanentError(f"{name}: not Parquet (it begins with {first[:4]!r})")
        if form.endswith(".gz") and not first.startswith(_GZIP):
            raise PermanentError(f"{name}: not gzip (it begins with {first[:4]!r})")
