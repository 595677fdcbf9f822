"""What the publisher has changed since it was loaded, and what it published late: a HEAD request a month."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elt.catalogue import Dataset
from elt.errors import PermanentError, TransientError, UsageError
from elt.layout import MANIFEST
from elt.months import Month
from elt.provenance import read_source
from elt.sources import Source

if TYPE_CHECKING:
    from elt.sources.client import Published
    from elt.stores.gcs import Lake, Stored

# From the day on which a month is due. Publishers are a few weeks late now and then.
PATIENCE = dt.timedelta(days=21)
# Months in a row that a source may not answer for.
_SILENT = 3


@dataclass(frozen=True)
class Scan:
    """What a scan of the source found; None is the month of a dataset that has none.

    `checked` counts the stored months that were compared. `failed` has the reason for each that could not
    be: the source has something else in the file's place, or the object in the lake is none of the
    dataset's. A month that the source has withdrawn stays in the lake.
    """

    checked: int
    to_load: tuple[Month | None, ...]
    failed: Mapping[str, str]


def scan(
    ds: Dataset,
    source: Source,
    lake: Lake,
    *,
    among: Collection[Month] = (),
    scheduled_since: dt.date | None = None,
) -> Scan:
    """Compare the months in the lake (only those `among` some, where any are named) with the source's.

    With `scheduled_since`, months that the schedule has given up since that day are requested, too. Raises
    the TransientError of a source that answers for no month, or not for several in a row.
    """
    stored: dict[Month | None, Stored] = {}
    failed: dict[str, str] = {}
    for each in lake.list(f"raw/{ds.name}/"):
        if ds.sharded and not each.name.endswith(f"/{MANIFEST}"):
            # One of the files that a manifest lists.
            continue
        text = each.metadata.get("month")
        try:
            month = Month.parse(text) if text else None
            ds.check_month(month)
        except UsageError as error:
            failed[each.name] = str(error)
        else:
            stored[month] = each
    wanted = [month for month in sorted(stored, key=str) if not among or month in among]
    late = given_up(ds, scheduled_since) if scheduled_since else ()
    to_load, silent, answered = list[Month | None](), 0, False
    for month in [*wanted, *(month for month in late if month not in stored)]:
        try:
            published = source.probe(month)
        except (PermanentError, UsageError, TransientError) as error:
            failed[f"{ds.name} {month}" if month else ds.name] = str(error)
            silent = silent + 1 if isinstance(error, TransientError) else 0
            last = error
            if silent >= _SILENT:
                # The others would most likely meet it as well, and each may take minutes.
                raise
            continue
        silent, answered = 0, True
        present = stored.get(month)
        if published and not (present and is_unchanged(present, published, source.base_url)):
            to_load.append(month)
    if silent and not answered:
        raise last
    return Scan(len(wanted), tuple(to_load), failed)


def given_up(ds: Dataset, since: dt.date, today: dt.date | None = None) -> Iterator[Month]:
    """Months of the dataset that were due on `since` or later, and were waited for long enough."""
    if ds.first_month is None:
        return
    today = today or dt.datetime.now(dt.UTC).date()
    # A schedule may be older than its dataset.
    month = max(Month.of(since).shift(-ds.lag_months), ds.first_month)
    while (due := month.shift(ds.lag_months).first_day()) + PATIENCE < today:
        if due >= since:
            yield month
        month = month.next()


def is_unchanged(stored: Stored, published: Published, source: str) -> bool:
    """Whether a raw object is complete and has what `source` publishes now."""
    facts = stored.metadata
    if not facts.get("checksum") or read_source(facts) != source:
        return False
    if published.etag:
        return facts.get("source_etag") == published.etag
    same_date = published.last_modified and facts.get("source_last_modified") == published.last_modified
    return bool(same_date) and stored.size == published.size and facts.get("source_url") == published.url
