"""Raw batches into the catalogue's one schema; a row that does not fit goes whole into quarantine. Pure."""

import datetime as dt
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from elt.catalogue import Column, Dataset
from elt.conforming.casting import as_text, cast, decode
from elt.conforming.schema import ARROW, Binding, quarantine_schema, typed_schema
from elt.errors import PermanentError
from elt.formats.batches import Batch, Malformed, Typed
from elt.periods import Period

# Characters of a value that a reason shows.
_SHOWN = 100


class RowCountError(PermanentError):
    """Conform lost or invented rows: a defect of this module, which another attempt only repeats."""


class Conformed(NamedTuple):
    """One source batch, split: `typed.num_rows` + `rejected` + `elsewhere` is how many rows came in.

    `elsewhere` counts the rows of a file of several periods that are another one's.
    """

    typed: pa.RecordBatch
    quarantined: pa.RecordBatch | None
    elsewhere: int = 0

    @property
    def rejected(self) -> int:
        """Rows in quarantine."""
        return self.quarantined.num_rows if self.quarantined else 0


class Invalid(NamedTuple):
    """Rows (mask) whose value in one source column is invalid, and what the reason says after the value."""

    column: int
    mask: pa.BooleanArray
    verdict: str


def conform(batches: Iterable[Batch], binding: Binding) -> Iterator[Conformed]:
    """Split each batch into what fits and what does not; RowCountError rather than lose or invent a row."""
    schema = typed_schema(binding.ds)
    for batch in batches:
        if isinstance(batch, Malformed):
            if not _has_the_rest(binding):
                yield Conformed(pa.RecordBatch.from_pylist([], schema), None, batch.lines.num_rows)
                continue
            texts = [as_text(column) for column in batch.lines.columns]
            lines = [*texts, pa.array(batch.reasons, pa.string())]
            rejected = pa.RecordBatch.from_arrays(lines, schema=quarantine_schema(batch.lines.schema))
            yield Conformed(pa.RecordBatch.from_pylist([], schema), rejected)
            continue
        whole = batch.rows if isinstance(batch, Typed) else batch
        own = _own_rows(whole, binding) if binding.ds.shares_files else None
        rows = whole if own is None else whole.filter(own)
        split, bad = _conform_batch(rows, binding, schema)
        if split.typed.num_rows + split.rejected != rows.num_rows:
            raise RowCountError(
                f"{binding.ds.file_name(binding.period)}: {rows.num_rows:,} rows became "
                f"{split.typed.num_rows:,} typed and {split.rejected:,} quarantined. "
                "This is a defect of conform, not of the file: please report it."
            )
        split = split._replace(elsewhere=whole.num_rows - rows.num_rows)
        if isinstance(batch, Typed) and bad is not None:
            # Quarantine holds a row as published, and a typed value has lost how it was written.
            yield split._replace(quarantined=None)
            again = pc.indices_nonzero(bad)
            again = again if own is None else pc.indices_nonzero(own).take(again)
            yield from conform(batch.texts(again.to_pylist()), binding)
        else:
            yield split


def _has_the_rest(binding: Binding) -> bool:
    """Whether rows of which nobody knows the period are this one's: the first one of its file has them."""
    return binding.period is None or _bounds(binding.ds, binding.period)[0] == binding.period.start


def _own_rows(batch: pa.RecordBatch, binding: Binding) -> pa.BooleanArray | None:
    """Which rows of a file of several periods are this one's; None: all."""
    period = binding.period
    column, source = next(
        (column, source)
        for column, source in zip(binding.ds.columns, binding.sources, strict=True)
        if column.name == binding.ds.key
    )
    if period is None or source is None:
        return None
    given = batch.column(source)
    key, _ = _cast(given, column)
    own = _inside(key, (period.start, period.end))
    if _has_the_rest(binding):
        own = pc.or_(own, pc.invert(_inside(key, _bounds(binding.ds, period))))
    return own


def _bounds(ds: Dataset, period: Period) -> tuple[dt.datetime, dt.datetime]:
    """From when to when the rows of a period's file may be: of a dataset that begins within it, from then."""
    file = ds.file_period(period) or period
    return max(file, ds.first or file).start, file.end


def _inside(key: pa.Array, bounds: tuple[dt.datetime, dt.datetime]) -> pa.BooleanArray:
    """Which keys lie within bounds, the end not included; no key does not."""
    start, end = (_scalar(moment, key.type) for moment in bounds)
    return pc.fill_null(pc.and_(pc.greater_equal(key, start), pc.less(key, end)), False)


def _conform_batch(
    batch: pa.RecordBatch, binding: Binding, schema: pa.Schema
) -> tuple[Conformed, pa.BooleanArray | None]:
    """Split a batch, and say which rows are for quarantine (None: none)."""
    arrays: list[pa.Array] = []
    invalid: list[Invalid] = []
    for column, source in zip(binding.ds.columns, binding.sources, strict=True):
        if source is None:
            arrays.append(pa.nulls(batch.num_rows, ARROW[column.type]))
            continue
        array, mask = _cast(batch.column(source), column)
        arrays.append(array)
        if mask is not None:
            verdict = "is not a known code" if column.codes else f"is not {column.type}"
            invalid.append(Invalid(source, mask, verdict))
        if column.name == binding.ds.key:
            invalid += _invalid_keys(array, mask, source, binding)
    typed = pa.RecordBatch.from_arrays(arrays, schema=schema)
    bad = reduce(pc.or_, (each.mask for each in invalid)) if invalid else None
    if bad is None or not bad.true_count:
        return Conformed(typed, None), None
    return Conformed(typed.filter(pc.invert(bad)), _quarantined(batch, invalid, bad)), bad


def _cast(given: pa.Array, column: Column) -> tuple[pa.Array, pa.BooleanArray | None]:
    target = ARROW[column.type]
    return decode(given, column, target) if column.codes else cast(given, target)


def _invalid_keys(
    key: pa.Array, not_cast: pa.BooleanArray | None, source: int, binding: Binding
) -> Iterator[Invalid]:
    """Rows without a key, and rows of another period. A key that was not cast is null, but not missing."""
    missing = pc.is_null(key) if not_cast is None else pc.and_not(pc.is_null(key), not_cast)
    if key.null_count and pc.any(missing).as_py():
        yield Invalid(source, missing, "is missing")
    if binding.period is None:
        return
    bounds = _bounds(binding.ds, binding.period)
    start, end = (_scalar(moment, key.type) for moment in bounds)
    found = pc.min_max(key)
    # Two values decide for most batches, so that no mask is made for them.
    if found["min"].is_valid and not (
        pc.greater_equal(found["min"], start).as_py() and pc.less(found["max"], end).as_py()
    ):
        outside = pc.and_(pc.is_valid(key), pc.invert(_inside(key, bounds)))
        yield Invalid(source, outside, f"is outside {binding.ds.file_period(binding.period)}")


def _scalar(moment: dt.datetime, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_date(kind):
        return pa.scalar(moment.date(), kind)
    return pa.scalar(moment.replace(tzinfo=dt.UTC) if kind.tz else moment, kind)


def _quarantined(batch: pa.RecordBatch, invalid: list[Invalid], bad: pa.BooleanArray) -> pa.RecordBatch:
    rejected = batch.filter(bad)
    texts = [as_text(column) for column in rejected.columns]
    reasons = [_reason(batch.schema, texts, each, bad) for each in invalid]
    texts.append(pc.binary_join_element_wise(*reasons, _text("; "), null_handling="skip"))
    schema = quarantine_schema(batch.schema)
    return pa.RecordBatch.from_arrays(texts, schema=schema)


def _reason(schema: pa.Schema, texts: list[pa.Array], invalid: Invalid, bad: pa.BooleanArray) -> pa.Array:
    """`passenger_count 1.5 is not int16` for the rows that are invalid in this way, else null."""
    value = pc.fill_null(pc.utf8_slice_codeunits(texts[invalid.column], 0, _SHOWN), _text("(null)"))
    name, verdict = _text(schema.names[invalid.column]), _text(invalid.verdict)
    sentence = pc.binary_join_element_wise(name, value, verdict, _text(" "))
    return pc.if_else(invalid.mask.filter(bad), sentence, pa.scalar(None, pa.string()))


def _text(value: str) -> pa.Scalar:
    # With its type given: to infer the type of a value, Arrow imports pandas.
    return pa.scalar(value, pa.string())
