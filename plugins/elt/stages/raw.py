"""The lake's raw files as input."""

from elt.errors import PermanentError, TransientError
from elt.layout import raw_object
from elt.provenance import Origin
from elt.stage_request import Request
from elt.stores.gcs import Lake, Stored


def complete_raw(request: Request, lake: Lake) -> tuple[Stored, Origin]:
    """Find a month's raw object, and say what rows made from it now come from."""
    if not request.ds.tabular:
        raise PermanentError(f"{request.file}: kept as it is, since {request.ds.name} has no columns.")
    stored = lake.find(raw_object(request.ds, request.month))
    if stored is None:
        raise PermanentError(f"{request.file}: not in the lake. Download it first.")
    facts = Origin.read(stored.metadata)
    if facts is None:
        raise TransientError(f"{request.file}: its download has not finished. Download it again.")
    return stored, Origin(facts.checksum, request.ds.schema_version, facts.source_etag)
