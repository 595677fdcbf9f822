"""When a month is due at the publisher's, and how long it is waited for. Pure."""

import datetime as dt
from collections.abc import Iterator

from elt.catalogue import Dataset
from elt.months import Month

# From the day a month is due.
PATIENCE = dt.timedelta(days=21)


def given_up(ds: Dataset, since: dt.date, today: dt.date | None = None) -> Iterator[Month]:
    """Months that were due on `since` or later, and waited for long enough."""
    if not ds.monthly:
        return
    today = today or dt.datetime.now(dt.UTC).date()
    month = Month.of(since).shift(-ds.lag_months)
    while (due := month.shift(ds.lag_months).first_day()) + PATIENCE < today:
        if due >= since:
            yield month
        month = month.next()
