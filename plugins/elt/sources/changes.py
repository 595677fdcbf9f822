"""What the publisher has changed since it was loaded: one HEAD request for each month."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from elt.catalogue import Dataset
from elt.errors import PermanentError
from elt.months import Month
from elt.settings import Settings
from elt.sources.client import probe
from elt.sources.publication import given_up
from elt.stages.download import unchanged
from elt.stores.gcs import Lake


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
    settings: Settings,
    *,
    among: Collection[Month] = (),
    scheduled_since: dt.date | None = None,
) -> Look:
    """Compare the months in the lake (only those `among` some, where any are named) with the source's.

    `scheduled_since`: look also for months that the schedule has given up since that day.
    """
    stored = {s.metadata.get("month", ""): s for s in Lake(settings).list(f"raw/{ds.name}/")}
    wanted = {str(month) for month in among}
    asked = sorted(month for month in stored if month in wanted or not wanted)
    late = [str(month) for month in given_up(ds, scheduled_since)] if scheduled_since else []
    to_load, refused = [], {}
    for text in [*asked, *(month for month in late if month not in stored)]:
        try:
            published = probe(ds, Month.parse(text) if text else None, settings)
        except PermanentError as error:
            refused[text] = str(error)
            continue
        if published and not (text in stored and unchanged(stored[text], published)):
            to_load.append(text)
    return Look(len(asked), tuple(to_load), refused)
