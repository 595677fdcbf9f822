"""Source → raw/: the published bytes, in one pass."""

from typing import Any

from elt.connections import Connections, Source
from elt.errors import SourceNotPublishedError
from elt.layout import raw_object
from elt.provenance import Loaded, Origin, is_unchanged
from elt.sources.validating_stream import MEDIA_TYPES, Reader
from elt.stage_request import StageRequest
from elt.stores.gcs import Content, Lake, Stored
from elt.warehouse.load_log import record


def download(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Bring a published file into the lake, unless that very file is there."""
    with connections.source(request.dataset) as source, connections.lake() as lake:
        stored = lake.find(raw_object(request.dataset, request.month))
        reused = False
        if stored is not None and not request.force:
            # Most often nothing has changed: a HEAD is cheaper than a download that is begun and given up.
            published = source.probe(request.month)
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
    with source.open(request.month) as transfer:
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
        stored = lake.write(raw_object(request.dataset, request.month), content)
    # Only now is the checksum known. Until the object has it, it counts as incomplete.
    return lake.describe(stored, {"checksum": reader.checksum})
