"""raw/ → typed/ and quarantine/."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

from elt.conforming.schema import some
from elt.conforming.stream import Parts, Shards, Split, write
from elt.connections import Connections
from elt.errors import PermanentError, TransientError
from elt.layout import quarantine_object, raw_object, typed_object
from elt.provenance import Loaded, Origin, read_drift, read_source
from elt.stage_request import StageRequest
from elt.stages.shards import in_lake
from elt.stores.gcs import Content, Lake, Stored
from elt.warehouse.load_log import record

_LOG = logging.getLogger(__name__)


def conform(request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Conform a raw file, unless its typed rows are there."""
    with connections.lake() as lake:
        result, loaded = write_typed(request, lake)
    with connections.warehouse() as warehouse:
        record(warehouse, request, "typed", loaded, repeated=result["reused"])
    return result


def write_typed(request: StageRequest, lake: Lake) -> tuple[dict[str, Any], Loaded]:
    """The same without a row in the load log: what `conform` returns, and what is to be logged."""
    raw, origin = complete_raw(request, lake)
    present = lake.find(typed_object(request.dataset, request.period))
    reused = present is not None and not request.force and origin.same(Origin.read(present.metadata))
    if present is None or not reused:
        present = _replace(request, lake, raw, origin, present)
    loaded = replace(Loaded.read({**present.metadata, "bytes": present.size}), origin=origin)
    if not loaded.quarantined:
        # Of an older file, or of a run that was killed before it had written its typed rows.
        lake.remove(quarantine_object(request.dataset, request.period))
    drift = read_drift(present.metadata)
    if drift:
        _LOG.warning(
            "%s has columns that the catalogue does not know: %s. They are kept in raw/ only.",
            request.file,
            ", ".join(drift),
        )
    return request.result(object=present.name, drift=drift, reused=reused, **loaded.facts()), loaded


def complete_raw(request: StageRequest, lake: Lake) -> tuple[Stored, Origin]:
    """Find a partition's raw object, and what rows that are made from it now come from."""
    if not request.dataset.tabular:
        raise PermanentError(f"{request.file}: kept as it is, since {request.dataset.name} has no columns.")
    stored = lake.find(raw_object(request.dataset, request.period))
    if stored is None:
        raise PermanentError(f"{request.file}: not in the lake. Download it first.")
    facts = Origin.read(stored.metadata)
    if facts is None:
        raise TransientError(f"{request.file}: its download has not finished. Download it again.")
    version = request.dataset.schema_version
    return stored, replace(facts, schema_version=version, source=read_source(stored.metadata))


@contextmanager
def opened(request: StageRequest, lake: Lake, raw: Stored) -> Iterator[Parts]:
    """A partition's raw file, or all of its files one after the other, on their way through conform."""
    ds, period = request.dataset, request.period
    if not ds.sharded:
        with lake.fetch(raw) as file, Split(file, ds, period) as parts:
            yield parts
        return
    files = in_lake(request, lake, raw)
    if files is None:
        raise TransientError(f"{request.file}: not all of its files are in the lake. Download it again.")
    # A program that writes several files leaves those without a row empty.
    yield Shards([(name, partial(lake.fetch, stored)) for name, stored in files if stored.size], ds, period)


def _replace(
    request: StageRequest, lake: Lake, raw: Stored, origin: Origin, present: Stored | None
) -> Stored:
    """Conform the raw file and upload its quarantine, then its typed rows: their reader finds both."""
    with opened(request, lake, raw) as parts:
        rows, rejected = write(parts)
    facts = {
        **request.names,
        "checksum": origin.checksum,
        "schema_version": origin.schema_version,
        "source_etag": origin.source_etag or "",
        "source": origin.source or "",
        "rows": str(parts.rows),
        "quarantined": str(parts.quarantined),
        # All of an object's metadata have to fit into 8 KiB.
        "drift": "\n".join(some(parts.drift)),
    }
    with rows:
        kept = ""
        if rejected is not None:
            with rejected:
                kept = quarantine_object(request.dataset, request.period)
                lake.write(kept, _content(rejected, facts))
        parts.refuse_if_empty(kept and lake.uri(kept))
        # Only over what was there before: another run may have conformed a newer raw file meanwhile.
        return lake.write(typed_object(request.dataset, request.period), _content(rows, facts), over=present)


def _content(file: BinaryIO, facts: dict[str, str]) -> Content:
    size = file.seek(0, 2)
    file.seek(0)
    return Content(file, size, "application/vnd.apache.parquet", facts)
