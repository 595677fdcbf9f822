"""A raw file as typed Parquet, and its quarantine beside it: one pass, in memory of a few row groups."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import BinaryIO, Self

import pyarrow as pa

from elt.catalogue import Dataset
from elt.conforming.quarantine import Quarantine
from elt.conforming.rows import Conformed, conform
from elt.conforming.schema import FILE, REASON, bind, check_complete, parseable, typed_schema
from elt.errors import PermanentError
from elt.formats.batches import LINE
from elt.formats.parquet_writer import ParquetWriter
from elt.formats.prefetch import prefetch
from elt.formats.raw_file import open_raw
from elt.periods import Period

# Characters of a line that a refusal shows.
_SHOWN = 100
# What is read ahead in one go: about 10 MB of trips.
PORTION_ROWS, PORTION_BYTES = 65_536, 16 * 2**20


class Split:
    """An open raw file on its way through conform: its parts, once; then their counts.

    Raises PermanentError if the file is corrupt or lacks a column, here or while the parts are read. Leaving
    its `with` block ends the prefetch; the file itself stays open.
    """

    def __init__(self, file: BinaryIO, ds: Dataset, period: Period | None, name: str = "") -> None:
        self.ds, self.period, self.name = ds, period, name or ds.file_name(period)
        self.rows = self.quarantined = self.elsewhere = 0
        self.first_reason = ""
        self._raw = open_raw(file, self.name, ds, parseable(ds))
        try:
            self._binding = bind(self._raw.schema, ds, period, self._raw.unread, self.name)
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    @property
    def drift(self) -> tuple[str, ...]:
        """The file's columns that the catalogue does not know (of JSON lines: once all parts are read)."""
        return self._raw.fields.unknown if self._raw.fields else self._binding.drift

    def __iter__(self) -> Iterator[Conformed]:
        for part in conform(self._raw.batches, self._binding):
            self.rows += part.typed.num_rows
            self.quarantined += part.rejected
            self.elsewhere += part.elsewhere
            if part.quarantined and not self.first_reason:
                self.first_reason = _told(part.quarantined.slice(0, 1).to_pylist()[0])
            yield part
        # What only the whole file shows.
        total = self.rows + self.quarantined + self.elsewhere
        if self._raw.rows not in (None, total):
            raise PermanentError(
                f"{self.name}: corrupt Parquet (it announces {self._raw.rows:,} rows and has {total:,})"
            )
        if fields := self._raw.fields:
            check_complete(self.ds, self.period, fields.found, (*fields.found, *fields.unknown), self.name)

    def refuse_if_empty(self, kept: str = "") -> None:
        """Raise PermanentError if no row fits: nothing may replace a partition by nothing.

        A day or an hour of which the file has no row at all is one in which nothing happened. `kept` says
        where the rows are now.
        """
        _refuse_if_empty(self, kept)


class Shards:
    """Several raw files as one, read one after the other: only one of them is on this disk at a time.

    The interface is `Split`'s. Quarantined rows get a column that says which file they are from.
    """

    def __init__(
        self, files: Sequence[tuple[str, Callable[[], BinaryIO]]], ds: Dataset, period: Period | None
    ) -> None:
        self.ds, self.period, self.name = ds, period, ds.file_name(period)
        self._files = files
        self.rows = self.quarantined = self.elsewhere = 0
        self.first_reason = ""
        self.drift: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Conformed]:
        drift = dict[str, None]()
        for name, fetch in self._files:
            with fetch() as file, Split(file, self.ds, self.period, name) as parts:
                for part in parts:
                    self.rows += part.typed.num_rows
                    self.quarantined += part.rejected
                    yield Conformed(part.typed, part.quarantined and _of_file(part.quarantined, name))
                if parts.first_reason and not self.first_reason:
                    self.first_reason = f"{name}: {parts.first_reason}"
                drift |= dict.fromkeys(parts.drift)
        self.drift = tuple(drift)

    def refuse_if_empty(self, kept: str = "") -> None:
        """As `Split` does, for all files together: one alone may have no rows."""
        _refuse_if_empty(self, kept)


Parts = Split | Shards


def _refuse_if_empty(parts: Parts, kept: str) -> None:
    quiet = parts.ds.every in ("day", "hour") and not parts.quarantined
    if not parts.rows and not quiet:
        if parts.elsewhere and not parts.quarantined:
            raise PermanentError(
                f"{parts.name}: has no row of {parts.period} ({parts.elsewhere:,} of other periods). "
                "When its publisher adds them, the source check loads them."
            )
        first = f". The first: {parts.first_reason}" if parts.first_reason else ""
        where = f". Look at them in {kept}" if kept else ""
        raise PermanentError(
            f"{parts.name}: no row fits ({parts.quarantined:,} rows, all for quarantine){first}{where}"
        )


def _of_file(rows: pa.RecordBatch, name: str) -> pa.RecordBatch:
    """Quarantined rows with the name of their file, before the reason."""
    return rows.add_column(rows.num_columns - 1, FILE, pa.array([name] * rows.num_rows, pa.string()))


def _told(row: dict[str, str | None]) -> str:
    """Why a row is in quarantine, with the beginning of its line where it has no values."""
    has_values = any(value for name, value in row.items() if name not in (LINE, REASON))
    line = "" if has_values else row.get(LINE)
    return " ".join(f"{row[REASON]}{f' ({line[:_SHOWN]!r})' if line else ''}".split())


def write(parts: Parts) -> tuple[BinaryIO, BinaryIO | None]:
    """Write typed and quarantined rows into open files without a name; None for no quarantine.

    The caller closes the files. After an error there are none.
    """
    with (
        ParquetWriter(typed_schema(parts.ds)) as typed,
        Quarantine() as quarantine,
        # Arrow reads and writes without Python's lock: the next portion is read while this one is written.
        closing(prefetch(portions(parts))) as ahead,
    ):
        for part in chain.from_iterable(ahead):
            typed.add(part.typed)
            if part.quarantined is not None:
                quarantine.add(part.quarantined)
        return typed.finish(), quarantine.finish()


def portions(parts: Iterable[Conformed], size: int = PORTION_ROWS) -> Iterator[list[Conformed]]:
    """Group parts until they hold `size` rows, or PORTION_BYTES, counting quarantined rows too."""
    group: list[Conformed] = []
    rows = 0
    taken = 0
    for part in parts:
        group.append(part)
        rows += part.typed.num_rows + part.rejected
        taken += part.typed.nbytes + (part.quarantined.nbytes if part.quarantined else 0)
        if rows >= size or taken >= PORTION_BYTES:
            yield group
            group, rows, taken = [], 0, 0
    yield group
