"""What the publisher has changed since it was loaded: one HEAD request for each month."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from elt.catalogue import Dataset
from elt.connections import Connections
from elt.errors import PermanentError
from elt.months import Month
from elt.provenance import is_unchanged
from elt.sources.publication import given_up


@dataclass(frozen=True)
class Look:
    """What a look at the source found, months as texts ("" for a dataset that has none).

    `refused` says for which months the source has something that is no file, and what; a month that it
    has withdrawn stays in the lake.
    """

    looked_at: int
    to_load: tuple[str, ...]
    refused: Mapping[str, str]


def look(
    ds: Dataset,
    connections: Connections,
    *,
    among: Collection[Month] = (),
    scheduled_since: dt.date | None = None,
) -> Look:
    """Compare the months in the lake (only those `among` some, where any are named) with the source's.

    `scheduled_since`: look also for months that the schedule has given up since that day.
    """
    source = connections.source(ds)
    with connections.lake() as lake:
        stored = {s.metadata.get("month", ""): s for s in lake.list(f"raw/{ds.name}/")}
    wanted = {str(month) for month in among}
    asked = sorted(month for month in stored if month in wanted or not wanted)
    late = [str(month) for month in given_up(ds, scheduled_since)] if scheduled_since else []
    to_load, refused = [], {}
    for text in [*asked, *(month for month in late if month not in stored)]:
        try:
            published = source.probe(Month.parse(text) if text else None)
        except PermanentError as error:
            refused[text] = str(error)
            continue
        if published and not (text in stored and is_unchanged(stored[text], published, source.base_url)):
            to_load.append(text)
    return Look(len(asked), tuple(to_load), refused)
