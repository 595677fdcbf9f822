"""The lake's raw files as input."""

from nyc_taxi.errors import Refused, Trouble
from nyc_taxi.lake import Lake, Stored
from nyc_taxi.layout import raw_object
from nyc_taxi.origin import Origin
from nyc_taxi.request import Request


def complete_raw(request: Request, lake: Lake) -> tuple[Stored, Origin]:
    """Find a month's raw object, and say what rows made from it now come from."""
    if not request.ds.tabular:
        raise Refused(f"{request.file}: kept as it is, since {request.ds.name} has no columns.")
    stored = lake.find(raw_object(request.ds, request.month))
    if stored is None:
        raise Refused(f"{request.file}: not in the lake. Download it first.")
    facts = Origin.read(stored.metadata)
    if facts is None:
        raise Trouble(f"{request.file}: its download has not finished. Download it again.")
    return stored, Origin(facts.checksum, request.ds.schema_version, facts.source_etag)
