"""Raw batches into the catalogue's one schema; rows that do not fit go whole into quarantine. Pure."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nyc_taxi.catalogue import Column, Dataset, Type
from nyc_taxi.errors import Refused
from nyc_taxi.months import Month

ARROW: dict[Type, pa.DataType] = {
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
}
REASON = "reason"


class Conformed(NamedTuple):
    """One source batch, split: `typed.num_rows` + `quarantined.num_rows` is what came in."""

    typed: pa.RecordBatch
    quarantined: pa.RecordBatch | None

    @property
    def rejected(self) -> int:
        """Rows in quarantine."""
        return self.quarantined.num_rows if self.quarantined else 0


@dataclass(frozen=True)
class Binding:
    """Which source column feeds which typed column (None: nulls), and what else the file has."""

    ds: Dataset
    month: Month | None
    sources: tuple[int | None, ...]
    drift: tuple[str, ...]


class Misfit(NamedTuple):
    """Rows (mask) that do not fit, and how to say it from the source values as text."""

    column: int
    mask: pa.BooleanArray
    verdict: str


def typed_schema(ds: Dataset) -> pa.Schema:
    """The dataset's one schema, for all years."""
    return pa.schema([pa.field(c.name, ARROW[c.type]) for c in ds.columns])


def quarantine_schema(source: pa.Schema) -> pa.Schema:
    """All source columns as text, and the reason."""
    return pa.schema([*(pa.field(name, pa.string()) for name in source.names), pa.field(REASON, pa.string())])


def bind(schema: pa.Schema, ds: Dataset, month: Month | None) -> Binding:
    """Match a file's columns with the catalogue's; Refused if one is lost, doubled or of a foreign kind."""
    file = ds.file_name(month)
    sources = tuple(_find(schema, column, file) for column in ds.columns)
    known = {index for index in sources if index is not None}
    drift = tuple(name for index, name in enumerate(schema.names) if index not in known)
    return Binding(ds, month, sources, drift)


def _find(schema: pa.Schema, column: Column, file: str) -> int | None:
    found = [i for i, name in enumerate(schema.names) if name.strip().lower() in column.known_names]
    if len(found) > 1:
        names = " and ".join(schema.names[i] for i in found)
        raise Refused(f"{file}: {names} are both {column.name}")
    if not found and column.required:
        raise Refused(f"{file}: column {column.name} is lost (the file has {', '.join(schema.names)})")
    if not found:
        return None
    if not _kin(schema.types[found[0]], column.type):
        raise Refused(
            f"{file}: column {schema.names[found[0]]} has type {schema.types[found[0]]}, "
            f"which cannot become {column.type}"
        )
    return found[0]


def _kin(source: pa.DataType, target: Type) -> bool:
    """Whether values of one type mean the same in the other: Arrow itself would read a number as a time."""
    if pa.types.is_dictionary(source):
        source = source.value_type
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_null)
    number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    time = (pa.types.is_timestamp, pa.types.is_date)
    kinds: dict[Type, tuple[Callable[[pa.DataType], bool], ...]] = {
        "string": (*text, *number, pa.types.is_boolean),
        "date": (*text, *time),
        "datetime": (*text, *time),
    }
    return any(is_kind(source) for is_kind in kinds.get(target, (*text, *number)))


def conform(batches: Iterable[pa.RecordBatch], binding: Binding) -> Iterator[Conformed]:
    """Split each batch into what fits and what does not; never loses or invents a row."""
    schema = typed_schema(binding.ds)
    for batch in batches:
        split = _conform_batch(batch, binding, schema)
        if split.typed.num_rows + split.rejected != batch.num_rows:
            raise AssertionError(f"{batch.num_rows} rows became {split.typed.num_rows} + {split.rejected}")
        yield split


def _conform_batch(batch: pa.RecordBatch, binding: Binding, schema: pa.Schema) -> Conformed:
    arrays: list[pa.Array] = []
    misfits: list[Misfit] = []
    for column, source in zip(binding.ds.columns, binding.sources, strict=True):
        if source is None:
            arrays.append(pa.nulls(batch.num_rows, ARROW[column.type]))
            continue
        array, mask = cast(batch.column(source), ARROW[column.type])
        arrays.append(array)
        if mask is not None:
            misfits.append(Misfit(source, mask, f"is not {column.type}"))
        if column.name == binding.ds.key:
            misfits += _key_misfits(array, mask, source, binding.month)
    typed = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return _split(batch, typed, misfits) if misfits else Conformed(typed, None)


def cast(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.BooleanArray | None]:
    """The values in the target type, and a mask of those that do not fit (there null); None if all do."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_integer(target) and pa.types.is_floating(array.type):
        # pandas writes "no value" of a whole number as NaN.
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    try:
        return _strict(array, target), None
    except pa.ArrowInvalid:
        mask = _mask(_misfits(array, target, 0), len(array))
        return _strict(pc.if_else(mask, pa.scalar(None, array.type), array), target), mask


def _strict(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Cast without loss, or ArrowInvalid."""
    if array.type != target:
        array = array.cast(target)
    if pa.types.is_string(target):
        array.validate(full=True)
        # Neither Postgres nor CSV can hold a NUL.
        if pc.any(pc.match_substring(array, "\0")).as_py():
            raise pa.ArrowInvalid("NUL in text")
    return array


def _misfits(array: pa.Array, target: pa.DataType, offset: int) -> list[int]:
    """Indices of values the strict cast refuses, found by halving: exactly its own judgement."""
    try:
        _strict(array, target)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [offset]
        half = len(array) // 2
        return _misfits(array[:half], target, offset) + _misfits(array[half:], target, offset + half)
    return []


def _mask(indices: list[int], length: int) -> pa.BooleanArray:
    chosen = set(indices)
    return pa.array([i in chosen for i in range(length)], pa.bool_())


def _key_misfits(
    key: pa.Array, miscast: pa.BooleanArray | None, source: int, month: Month | None
) -> Iterator[Misfit]:
    """Rows without a key, and rows of another month."""
    missing = pc.is_null(key) if miscast is None else pc.and_not(pc.is_null(key), miscast)
    if key.null_count and pc.any(missing).as_py():
        yield Misfit(source, missing, "is missing")
    if month is not None and not _inside(key, month):
        inside = pc.and_(pc.greater_equal(key, _start(month)), pc.less(key, _start(month.next())))
        yield Misfit(source, pc.fill_null(pc.invert(inside), False), f"is outside {month}")


def _inside(key: pa.Array, month: Month) -> bool:
    bounds = pc.min_max(key).as_py()
    first, last = bounds["min"], bounds["max"]
    return first is None or bool(_start(month).as_py() <= first and last < _start(month.next()).as_py())


def _start(month: Month) -> pa.Scalar:
    return pa.scalar(dt.datetime.combine(month.first_day(), dt.time()), ARROW["datetime"])


def _split(batch: pa.RecordBatch, typed: pa.RecordBatch, misfits: list[Misfit]) -> Conformed:
    bad = misfits[0].mask
    for misfit in misfits[1:]:
        bad = pc.or_(bad, misfit.mask)
    rejected = batch.filter(bad)
    if not rejected.num_rows:
        return Conformed(typed, None)
    texts = [as_text(column) for column in rejected.columns]
    reasons = [_reason(batch.schema, texts, misfit, bad) for misfit in misfits]
    texts.append(pc.binary_join_element_wise(*reasons, "; ", null_handling="skip"))
    schema = quarantine_schema(batch.schema)
    return Conformed(typed.filter(pc.invert(bad)), pa.RecordBatch.from_arrays(texts, schema=schema))


def _reason(schema: pa.Schema, texts: list[pa.Array], misfit: Misfit, bad: pa.BooleanArray) -> pa.Array:
    """`passenger_count 1.5 is not int16` for the rows it concerns, else null."""
    value = pc.fill_null(pc.utf8_slice_codeunits(texts[misfit.column], 0, 100), "(null)")
    sentence = pc.binary_join_element_wise(schema.names[misfit.column], value, misfit.verdict, " ")
    return pc.if_else(misfit.mask.filter(bad), sentence, pa.scalar(None, pa.string()))


def as_text(array: pa.Array) -> pa.Array:
    """Any values as readable text, valid UTF-8; null stays null."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([_legible(value) for value in _values(array)], pa.string())
    return text


def _values(array: pa.Array) -> list[object]:
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = array.cast(pa.binary() if pa.types.is_string(array.type) else pa.large_binary())
    values: list[object] = array.to_pylist()
    return values


def _legible(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return None if value is None else str(value)
