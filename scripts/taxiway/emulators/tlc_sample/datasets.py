"""What the source offers: months of four datasets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read `2024-01`. Raises ValueError naming what was given."""
        match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text)
        if not match:
            raise ValueError(f"not a month: {text!r}; write it as 2024-01")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, day: date) -> Month:
        """The month that `day` lies in."""
        return cls(day.year, day.month)

    def plus(self, months: int) -> Month:
        """The month so many later."""
        year, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return Month(year, month + 1)

    def first_moment(self) -> datetime:
        """The month's first moment (UTC)."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    def days(self) -> int:
        """How many days it has."""
        return (self.plus(1).first_moment() - self.first_moment()).days

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


Writer = Callable[[Path, Month, int], None]


@dataclass(frozen=True)
class Dataset:
    """A monthly dataset: `write(path, month, rows)` writes one month's file, the same bytes each time."""

    prefix: str
    first: Month
    write: Writer


def _writer(module: str, function: str) -> Writer:
    def write(path: Path, month: Month, rows: int) -> None:
        # It brings pyarrow and numpy: only once a month is asked for.
        found = getattr(import_module(f"taxiway.emulators.tlc_sample.{module}"), function)
        found(path, month, rows)

    return write


DATASETS = {
    "yellow": Dataset("yellow_tripdata", Month(2009, 1), _writer("taxis", "write_yellow")),
    "green": Dataset("green_tripdata", Month(2013, 8), _writer("taxis", "write_green")),
    "fhv": Dataset("fhv_tripdata", Month(2015, 1), _writer("for_hire", "write_fhv")),
    "fhvhv": Dataset("fhvhv_tripdata", Month(2019, 2), _writer("for_hire", "write_fhvhv")),
}
