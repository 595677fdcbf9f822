"""Months as the file names write them."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> "Month":
        """Read `2024-01`. Raises ValueError naming what was given."""
        match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text)
        if not match:
            raise ValueError(f"not a month: {text!r}; write it as 2024-01")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, day: date) -> "Month":
        """Return the month that `day` lies in."""
        return cls(day.year, day.month)

    def plus(self, months: int) -> "Month":
        """Return the month so many later."""
        year, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return Month(year, month + 1)

    def first_moment(self) -> datetime:
        """Return the month's first moment (UTC)."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    def days(self) -> int:
        """Return how many days it has."""
        return (self.plus(1).first_moment() - self.first_moment()).days

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"
