"""raw/ → typed/ and quarantine/."""

import logging
from typing import Any, BinaryIO

from elt.conforming.stream import Split, write
from elt.frugal import be_frugal
from elt.layout import quarantine_object, typed_object
from elt.provenance import Loaded, Origin, drift_in
from elt.stage_request import Request
from elt.stages.raw import complete_raw
from elt.stores.gcs import Content, Lake, Stored
from elt.warehouse.load_log import record

_LOG = logging.getLogger(__name__)
_SHOWN = 20


def refine(request: Request) -> dict[str, Any]:
    """Conform a raw file, unless its typed rows are there."""
    be_frugal()
    lake = Lake(request.settings)
    raw, origin = complete_raw(request, lake)
    present = lake.find(typed_object(request.ds, request.month))
    reused = present is not None and not request.force and origin.same(Origin.read(present.metadata))
    if present is None or not reused:
        present = _replace(request, lake, raw, origin, present)
    loaded = Loaded.read({**present.metadata, "bytes": present.size})
    if not loaded.quarantined:
        lake.remove(quarantine_object(request.ds, request.month))
    record(request, "typed", loaded, repeated=reused)
    drift = drift_in(present.metadata)
    if drift:
        _LOG.warning(
            "%s has columns that the catalogue does not know: %s. They are kept in raw/ only.",
            request.file,
            ", ".join(drift),
        )
    return request.result(object=present.name, drift=drift, reused=reused, **loaded.facts())


def _replace(request: Request, lake: Lake, raw: Stored, origin: Origin, present: Stored | None) -> Stored:
    """Upload the quarantine, then the typed rows: who sees these finds that complete."""
    with lake.fetch(raw) as source, Split(source, request.ds, request.month) as parts:
        rows, rejected = write(parts)
    facts = _facts(request, parts, origin)
    with rows:
        if rejected is not None:
            with rejected:
                lake.write(quarantine_object(request.ds, request.month), _content(rejected, facts))
        # Never over the work of another run, which may have seen a newer raw file.
        return lake.write(typed_object(request.ds, request.month), _content(rows, facts), over=present)


def _facts(request: Request, parts: Split, origin: Origin) -> dict[str, str]:
    return {
        **request.names,
        "checksum": origin.checksum,
        "schema_version": origin.schema_version,
        "source_etag": origin.source_etag or "",
        "rows": str(parts.rows),
        "quarantined": str(parts.quarantined),
        "drift": _listed(parts.drift),
    }


def _listed(names: tuple[str, ...]) -> str:
    """Names a line each; all of an object's metadata have to fit into 8 KiB."""
    shown = [" ".join(name.split())[:60] for name in names[:_SHOWN]]
    more = [f"… and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return "\n".join(shown + more)


def _content(file: BinaryIO, facts: dict[str, str]) -> Content:
    size = file.seek(0, 2)
    file.seek(0)
    return Content(file, size, "application/vnd.apache.parquet", facts)
