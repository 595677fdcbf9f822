"""A year, month, day or hour of UTC, written `2024`, `2024-01`, `2024-01-05` or `2024-01-05T05`.

A dataset is published by periods of one kind, or as a whole; its partition is one of them.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from functools import total_ordering
from typing import ClassVar, Literal, Self

from elt.errors import InvalidPeriodError

Grain = Literal["hour", "day", "month", "year"]

_REST = "0001-01-01T00"


@total_ordering
class Period:
    """`Year(2024)`, `Month(2024, 1)`, `Day(2024, 1, 5)` or `Hour(2024, 1, 5, 5)`; sorts by its start.

    Of two that start together the longer one comes first. `start` has no zone: stores and files have none.
    """

    __slots__ = ("start",)
    grain: ClassVar[Grain]
    example: ClassVar[str] = "2024-01"
    start: dt.datetime

    def __init__(self, year: int, month: int = 1, day: int = 1, hour: int = 0) -> None:
        try:
            self.start = dt.datetime(year, month, day, hour)  # noqa: DTZ001 - in UTC, without a zone
        except ValueError:
            numbers = (year, month, day, hour)[: len(levels(self.grain))]
            raise self._invalid(f"{'-'.join(map(str, numbers))} does not exist") from None
        if self.start != self._floor(self.start):
            raise self._invalid(f"{self.start.isoformat()} is not the start of one")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a period of this class (`Period.parse`: of any); anything else is InvalidPeriodError."""
        kind = next((each for each in KINDS.values() if len(each.example) == len(text)), None)
        if kind is not None and issubclass(kind, cls):
            try:
                found = kind.of(dt.datetime.fromisoformat(text + _REST[len(text) :]))
            except ValueError:
                found = None
            # Python reads other spellings of a date, too.
            if isinstance(found, cls) and str(found) == text:
                return found
        raise cls._invalid(f"{text!r} is malformed")

    @classmethod
    def of(cls, moment: dt.date) -> Self:
        """The period that a day begins in, or a moment in UTC lies in."""
        if not isinstance(moment, dt.datetime):
            moment = dt.datetime.combine(moment, dt.time())
        start = cls._floor(moment)
        return cls(start.year, start.month, start.day, start.hour)

    @classmethod
    def _floor(cls, moment: dt.datetime) -> dt.datetime:
        length = len(cls.example)
        return dt.datetime.fromisoformat(moment.isoformat()[:length] + _REST[length:])

    @classmethod
    def _invalid(cls, what: str) -> InvalidPeriodError:
        return InvalidPeriodError(f"{cls.__name__.lower()} {what}. Write it like {cls.example}.")

    @property
    def end(self) -> dt.datetime:
        """The first moment after it."""
        return self.next().start

    def first_day(self) -> dt.date:
        """The day on which it begins."""
        return self.start.date()

    def next(self) -> Self:
        """The following period."""
        return self.shift(1)

    def shift(self, n: int) -> Self:
        """The period that begins `n` periods later (earlier when negative)."""
        if self.grain in ("hour", "day"):
            try:
                return self.of(self.start + n * dt.timedelta(**{f"{self.grain}s": 1}))
            except OverflowError:
                raise self._invalid(f"{self} moved by {n} does not exist") from None
        months = n if self.grain == "month" else 12 * n
        year, month = divmod(self.start.year * 12 + self.start.month - 1 + months, 12)
        return type(self)(year, month + 1)

    def __str__(self) -> str:
        return self.start.isoformat()[: len(self.example)]

    def __repr__(self) -> str:
        numbers = [int(part) for part in str(self).replace("T", "-").split("-")]
        return f"{type(self).__name__}({', '.join(map(str, numbers))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Period) and str(self) == str(other)

    def __lt__(self, other: "Period") -> bool:
        return (self.start, str(self)) < (other.start, str(other))

    def __hash__(self) -> int:
        return hash(str(self))


class Year(Period):
    """A calendar year."""

    __slots__ = ()
    grain, example = "year", "2024"


class Month(Period):
    """A calendar month."""

    __slots__ = ()
    grain, example = "month", "2024-01"


class Day(Period):
    """A day."""

    __slots__ = ()
    grain, example = "day", "2024-01-05"


class Hour(Period):
    """An hour."""

    __slots__ = ()
    grain, example = "hour", "2024-01-05T05"


KINDS: dict[Grain, type[Period]] = {"year": Year, "month": Month, "day": Day, "hour": Hour}
"""The classes by grain, the longest first."""


def levels(grain: Grain | None) -> tuple[Grain, ...]:
    """The grains whose numbers a period of this one has, the longest first; none where there is no period."""
    grains = tuple(KINDS)
    return grains[: grains.index(grain) + 1] if grain else ()


@dataclass(frozen=True)
class Span:
    """What a command line names: all time from the start of one period to the end of another."""

    first: Period
    last: Period

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2024-01` or `2024-01..2024-03` (both ends included); InvalidPeriodError for anything else."""
        first, dots, last = text.partition("..")
        start = Period.parse(first)
        end = Period.parse(last) if dots else start
        if end.end <= start.start:
            raise InvalidPeriodError(f"range {text!r} ends before it starts. Write it like 2024-01..2024-03.")
        return cls(start, end)

    def periods(self, grain: Grain) -> Iterator[Period]:
        """Every period of a grain that has a moment in it, in order."""
        period = KINDS[grain].of(self.first.start)
        while period.start < self.last.end:
            yield period
            period = period.next()


@total_ordering
@dataclass(frozen=True, slots=True)
class Partition:
    """What every stage works on: a dataset in one period, or the whole of one without periods (None)."""

    dataset: str
    period: Period | None = None

    @classmethod
    def parse(cls, dataset: str, period: str | None) -> Self:
        """Read a period as texts have it: `2024-01`, or None or "" for none."""
        return cls(dataset, Period.parse(period) if period else None)

    @property
    def key(self) -> str | None:
        """The period as Airflow's partition key, JSON and the tables have it: `2024-01`, or None."""
        return str(self.period) if self.period else None

    def __str__(self) -> str:
        return f"{self.dataset} {self.period}" if self.period else self.dataset

    def __lt__(self, other: "Partition") -> bool:
        # None and a period cannot be compared; the empty text comes before every period.
        return (self.dataset, self.key or "") < (other.dataset, other.key or "")
