"""What the publisher has changed since it was loaded, and what it published late: a request a file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elt.catalogue import Api, Database, Dataset
from elt.errors import PermanentError, TransientError, UsageError
from elt.layout import MANIFEST
from elt.periods import Grain, Partition, Period
from elt.provenance import read_source
from elt.sources import Source

if TYPE_CHECKING:
    from elt.sources.client import Published
    from elt.stores.gcs import Lake, Stored

# From when a period is due. Publishers of months are a few weeks late now and then.
PATIENCE: Mapping[Grain, dt.timedelta] = {
    "hour": dt.timedelta(days=1),
    "day": dt.timedelta(days=7),
    "month": dt.timedelta(days=21),
    "year": dt.timedelta(days=90),
}
# Periods in a row that a source may not answer for.
_SILENT = 3
# The latest so many periods are compared: forty days of hours, three years of days. Ten years of hours would
# be 90,000 requests a day.
COMPARED = 1_000


@dataclass(frozen=True)
class Scan:
    """What a scan of the source found; None is the period of a dataset that has none.

    `checked` counts the stored periods that were compared. `failed` has the reason for each that could not
    be: the source has something else in the file's place, or the object in the lake is none of the
    dataset's. A period that the source has withdrawn stays in the lake.
    """

    checked: int
    to_load: tuple[Period | None, ...]
    failed: Mapping[str, str]


def scan(
    ds: Dataset,
    source: Source,
    lake: Lake,
    *,
    among: Collection[Period] = (),
    scheduled_since: dt.date | None = None,
) -> Scan:
    """Compare the latest periods in the lake (only those `among` some, if any are named) with the source's.

    With `scheduled_since`, periods that the schedule has given up since that day are requested, too. Rows of
    an API or a database have nothing to compare: the latest `ds.reread` periods count as changed, and the
    others are not asked for. Raises the TransientError of a source that answers for no period, or not for
    several in a row.
    """
    # By the periods of files: most often, a file has one.
    stored: dict[Period | None, Stored] = {}
    failed: dict[str, str] = {}
    for each in _raw_objects(ds, lake):
        text = each.metadata.get("month")
        try:
            period = Period.parse(text) if text else None
            ds.check_period(ds.periods_of(period)[-1] if ds.shares_files and period else period)
        except UsageError as error:
            failed[each.name] = str(error)
        else:
            stored[period] = each
    ordered = sorted(stored, key=str)
    named = {ds.file_period(period) for period in among}
    wanted = [period for period in ordered if not among or period in named][-COMPARED:]
    if isinstance(ds.source, Api | Database):
        latest, base_url = ordered[-ds.reread :] if ds.reread else [], source.base_url
        wanted = [p for p in wanted if p in latest or not is_complete(stored[p], base_url)]
    late = given_up(ds, scheduled_since) if scheduled_since else ()
    to_load, silent, answered = list[Period | None](), 0, False
    missed = dict.fromkeys(file for file in map(ds.file_period, late) if file not in stored)
    for period in [*wanted, *missed]:
        try:
            published = source.probe(ds.periods_of(period)[0])
        except (PermanentError, UsageError, TransientError) as error:
            failed[str(Partition(ds.name, period))] = str(error)
            silent = silent + 1 if isinstance(error, TransientError) else 0
            last = error
            if silent >= _SILENT:
                # The others would most likely meet it as well, and each may take minutes.
                raise
            continue
        silent, answered = 0, True
        present = stored.get(period)
        if published and not (present and is_unchanged(present, published, source.base_url)):
            to_load += (
                [each for each in ds.periods_of(period) if is_over(each)] if ds.shares_files else [period]
            )
    if silent and not answered:
        raise last
    return Scan(len(wanted), tuple(to_load), failed)


def _raw_objects(ds: Dataset, lake: Lake) -> Iterator[Stored]:
    """A dataset's objects in raw/; of partitions of several files only the manifests that list these."""
    every = lake.list(f"raw/{ds.name}/")
    return (each for each in every if not ds.sharded or each.name.endswith(f"/{MANIFEST}"))


def given_up(ds: Dataset, since: dt.date, now: dt.datetime | None = None) -> Iterator[Period]:
    """The latest periods that were due on `since` or later and were waited for long enough (`now` in UTC)."""
    if ds.first is None:
        return
    kind = type(ds.first)
    over = (now or dt.datetime.now(dt.UTC)).replace(tzinfo=None) - PATIENCE[kind.grain]
    begin = dt.datetime.combine(since, dt.time())
    # A schedule may be older than its dataset.
    period = max(kind.of(since).shift(-ds.lag), ds.first, kind.of(over).shift(-ds.lag - COMPARED))
    while (due := period.shift(ds.lag).start) < over:
        if due >= begin:
            yield period
        period = period.next()


def is_over(period: Period | None, now: dt.datetime | None = None) -> bool:
    """Whether rows of a period can only be added late (`now` in UTC): before that none of it is published."""
    now = now or dt.datetime.now(dt.UTC)
    return period is None or period.end <= now.replace(tzinfo=None)


def is_complete(stored: Stored, source: str) -> bool:
    """Whether a raw object was downloaded to its end, from this source."""
    return bool(stored.metadata.get("checksum")) and read_source(stored.metadata) == source


def is_unchanged(stored: Stored, published: Published, source: str) -> bool:
    """Whether a raw object is complete and has what `source` publishes now."""
    facts = stored.metadata
    if not is_complete(stored, source):
        return False
    if published.etag:
        return facts.get("source_etag") == published.etag
    same_date = published.last_modified and facts.get("source_last_modified") == published.last_modified
    return bool(same_date) and stored.size == published.size and facts.get("source_url") == published.url
