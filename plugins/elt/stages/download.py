"""Source → raw/: the published bytes, in one pass."""

from typing import Any

from elt.errors import SourceNotPublishedError
from elt.layout import raw_object
from elt.provenance import Loaded, Origin, is_unchanged
from elt.sources.client import HttpSource, Published
from elt.sources.validating_stream import MEDIA_TYPES, Reader
from elt.stage_request import Request
from elt.stores.gcs import Content, Lake, Stored
from elt.warehouse.load_log import record


def download(request: Request) -> dict[str, Any]:
    """Bring a published file into the lake, unless that very file is there."""
    with HttpSource(request.ds, request.settings.source_url or "") as source:
        published = source.probe(request.month)
        if published is None:
            raise SourceNotPublishedError(f"{request.file}: not published at {source.base_url}")
        lake = Lake(request.settings)
        stored = lake.find(raw_object(request.ds, request.month))
        reused = stored is not None and not request.force and is_unchanged(stored, published, source.base_url)
        if stored is None or not reused:
            stored = _transfer(request, source, lake)
    record(request, "raw", _loaded(stored), repeated=reused)
    facts = {name: stored.metadata[name] or None for name in ("checksum", "source_etag", "source_url")}
    return request.result(object=stored.name, bytes=stored.size, reused=reused, **facts)


def _transfer(request: Request, source: HttpSource, lake: Lake) -> Stored:
    with source.open(request.month) as transfer:
        reader = Reader(transfer, request.file, request.ds.file_format)
        facts = request.names | {"source": source.base_url} | _facts(transfer.published)
        name, kind = raw_object(request.ds, request.month), MEDIA_TYPES[request.ds.file_format]
        stored = lake.write(name, Content(reader, transfer.published.size, kind, facts))
    # Until it has its checksum the object counts as incomplete: only now is it known.
    return lake.describe(stored, {"checksum": reader.checksum})


def _facts(published: Published) -> dict[str, str]:
    return {
        "source_url": published.url,
        "source_etag": published.etag or "",
        "source_last_modified": published.last_modified or "",
    }


def _loaded(stored: Stored) -> Loaded:
    origin = Origin(stored.metadata["checksum"], "", stored.metadata["source_etag"] or None)
    return Loaded(origin, rows=0, quarantined=0, bytes=stored.size)
