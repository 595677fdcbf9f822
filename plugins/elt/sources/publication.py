"""When a month is due at its publisher, and how long it is waited for. Pure."""

import datetime as dt
from collections.abc import Iterator

from elt.catalogue import Dataset
from elt.months import Month

# From the day on which a month is due. Publishers are a few weeks late now and then.
PATIENCE = dt.timedelta(days=21)


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
