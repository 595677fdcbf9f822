"""The month, written `2024-01`, and the partition: one month of one dataset, or a dataset that has none."""

import datetime as dt
import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

from elt.errors import InvalidMonthError

_FORM = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Month:
    """A calendar month; sorts by time."""

    year: int
    month: int

    def __post_init__(self) -> None:
        if not (dt.MINYEAR <= self.year <= dt.MAXYEAR and 1 <= self.month <= 12):
            raise InvalidMonthError(f"month {self.year}-{self.month} does not exist. Write it like 2024-01.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `YYYY-MM`; anything else is InvalidMonthError."""
        found = _FORM.fullmatch(text)
        if not found:
            raise InvalidMonthError(f"month {text!r} is malformed. Write it like 2024-01.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, day: dt.date) -> Self:
        """The month a day lies in."""
        return cls(day.year, day.month)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    def first_day(self) -> dt.date:
        """The month's first day."""
        return dt.date(self.year, self.month, 1)

    def shift(self, months: int) -> Self:
        """The month so many months later (earlier when negative)."""
        years, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return type(self)(years, month + 1)

    def next(self) -> Self:
        """The following month."""
        return self.shift(1)


def parse_range(text: str) -> tuple[Month, ...]:
    """Read `2024-01` or `2024-01..2024-03` (both ends included) as months in order."""
    first, dots, last = text.partition("..")
    start = Month.parse(first)
    end = Month.parse(last) if dots else start
    if end < start:
        raise InvalidMonthError(f"range {text!r} ends before it starts. Write it like 2024-01..2024-03.")
    count = (end.year - start.year) * 12 + end.month - start.month + 1
    return tuple(start.shift(n) for n in range(count))


@total_ordering
@dataclass(frozen=True, slots=True)
class Partition:
    """What every stage works on: one month of a dataset, or the whole of one without months (None)."""

    dataset: str
    month: Month | None = None

    @classmethod
    def parse(cls, dataset: str, month: str | None) -> Self:
        """Read a month as texts have it: `2024-01`, or None or "" for none."""
        return cls(dataset, Month.parse(month) if month else None)

    @property
    def month_text(self) -> str | None:
        """The month as JSON and the tables have it: `2024-01`, or None."""
        return str(self.month) if self.month else None

    def __str__(self) -> str:
        return f"{self.dataset} {self.month}" if self.month else self.dataset

    def __lt__(self, other: "Partition") -> bool:
        # None and a month cannot be compared; the empty text comes before every month.
        return (self.dataset, self.month_text or "") < (other.dataset, other.month_text or "")
