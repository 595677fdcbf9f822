"""Source → raw/: the published bytes, in one pass."""

from typing import Any

from elt.errors import SourceNotPublishedError
from elt.layout import raw_object
from elt.provenance import Loaded, Origin
from elt.sources.client import Published, Transfer, probe, session, source_url
from elt.sources.validating_stream import MEDIA_TYPES, Reader
from elt.stage_request import Request
from elt.stores.gcs import Content, Lake, Stored
from elt.warehouse.load_log import record


def download(request: Request) -> dict[str, Any]:
    """Bring a published file into the lake, unless that very file is there."""
    published = probe(request.ds, request.month, request.settings)
    if published is None:
        url = source_url(request.ds, request.month, request.settings)
        raise SourceNotPublishedError(f"{request.file}: not published ({url})")
    lake = Lake(request.settings)
    stored = lake.find(raw_object(request.ds, request.month))
    reused = stored is not None and not request.force and unchanged(stored, published)
    if stored is None or not reused:
        stored = _transfer(request, lake)
    record(request, "raw", _loaded(stored), repeated=reused)
    facts = {name: stored.metadata[name] or None for name in ("checksum", "source_etag", "source_url")}
    return request.result(object=stored.name, bytes=stored.size, reused=reused, **facts)


def unchanged(stored: Stored, published: Published) -> bool:
    """Whether a complete raw object holds what the source has now."""
    facts = stored.metadata
    if not facts.get("checksum"):
        return False
    if published.etag:
        return facts.get("source_etag") == published.etag
    same_date = published.last_modified and facts.get("source_last_modified") == published.last_modified
    return bool(same_date) and stored.size == published.size and facts.get("source_url") == published.url


def _transfer(request: Request, lake: Lake) -> Stored:
    url = source_url(request.ds, request.month, request.settings)
    with session() as http, Transfer(url, request.file, http) as transfer:
        reader = Reader(transfer, request.file, request.ds.file_format)
        name, facts = raw_object(request.ds, request.month), request.names | _facts(transfer.published)
        kind = MEDIA_TYPES[request.ds.file_format]
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
