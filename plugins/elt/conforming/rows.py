"""Raw batches into the catalogue's one schema; rows that do not fit go whole into quarantine. Pure."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from elt.catalogue import Column, Dataset, Type
from elt.errors import PermanentError
from elt.months import Month

ARROW: dict[Type, pa.DataType] = {
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "timestamp": pa.timestamp("us", "UTC"),
    "bool": pa.bool_(),
}
REASON = "reason"
# A file of text lines has this column besides its own: a line as it is, where that may be asked for.
LINE = "source_line"


class Malformed(NamedTuple):
    """Lines that cannot be split into columns: rows that are null but for LINE, and why (one text each)."""

    lines: pa.RecordBatch
    reasons: list[str]


class Typed(NamedTuple):
    """Rows that the reader has typed already, and how to have them as the texts that they are in the file."""

    rows: pa.RecordBatch
    texts: Callable[[], Iterable["Batch"]]


Batch: TypeAlias = pa.RecordBatch | Malformed | Typed


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
    """Match a file's columns with the catalogue's.

    Raises PermanentError if one is lost, doubled or of a type that cannot be converted.
    """
    file = ds.file_name(month)
    sources = tuple(_find(schema, column, file) for column in ds.columns)
    check_complete(
        ds, month, {c.name for c, i in zip(ds.columns, sources, strict=True) if i is not None}, schema.names
    )
    known = {index for index in sources if index is not None}
    drift = tuple(name for index, name in enumerate(schema.names) if index not in known and name != LINE)
    return Binding(ds, month, sources, drift)


def parseable(names: Iterable[str], ds: Dataset) -> dict[str, pa.DataType]:
    """Types of the columns whose texts Arrow's CSV reader takes for the same values as a cast does."""
    plain = [column for column in ds.columns if not column.codes and column.type not in ("bool", "string")]
    return {name: ARROW[column.type] for name in names for column in plain if _is_of(name, column)}


def check_complete(ds: Dataset, month: Month | None, found: Set[str], names: Iterable[str]) -> None:
    """Refuse a file that has lost a column: its typed columns are `found`, in the file they are `names`."""
    for column in ds.columns:
        if column.name not in found and column.instead not in found and column.required_in(month):
            has = ", ".join(name for name in names if name != LINE) or "none"
            raise PermanentError(f"{ds.file_name(month)}: column {column.name} is lost (the file has {has})")


def _is_of(name: str, column: Column) -> bool:
    """Whether a file's column is the catalogue's: by any of its names, whatever the case."""
    return name.strip().lower() in column.known_names


def _find(schema: pa.Schema, column: Column, file: str) -> int | None:
    found = [i for i, name in enumerate(schema.names) if _is_of(name, column)]
    if len(found) > 1:
        names = " and ".join(schema.names[i] for i in found)
        raise PermanentError(f"{file}: {names} are both {column.name}")
    if not found:
        return None
    if not _kin(schema.types[found[0]], column.type):
        raise PermanentError(
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
        "timestamp": (*text, *time),
        "bool": (*text, pa.types.is_integer, pa.types.is_boolean),
    }
    return any(is_kind(source) for is_kind in kinds.get(target, (*text, *number)))


def conform(batches: Iterable[Batch], binding: Binding) -> Iterator[Conformed]:
    """Split each batch into what fits and what does not; never loses or invents a row."""
    schema = typed_schema(binding.ds)
    for batch in batches:
        if isinstance(batch, Malformed):
            yield _reject(batch, schema)
            continue
        rows = batch.rows if isinstance(batch, Typed) else batch
        split = _conform_batch(rows, binding, schema)
        if split.typed.num_rows + split.rejected != rows.num_rows:
            raise AssertionError(f"{rows.num_rows} rows became {split.typed.num_rows} + {split.rejected}")
        if isinstance(batch, Typed) and split.quarantined:
            # What goes into quarantine goes as it was published.
            yield from conform(batch.texts(), binding)
        else:
            yield split


def _reject(malformed: Malformed, schema: pa.Schema) -> Conformed:
    texts = [as_text(column) for column in malformed.lines.columns]
    quarantine = quarantine_schema(malformed.lines.schema)
    rejected = pa.RecordBatch.from_arrays(
        [*texts, pa.array(malformed.reasons, pa.string())], schema=quarantine
    )
    return Conformed(pa.RecordBatch.from_pylist([], schema), rejected)


def _conform_batch(batch: pa.RecordBatch, binding: Binding, schema: pa.Schema) -> Conformed:
    arrays: list[pa.Array] = []
    misfits: list[Misfit] = []
    for column, source in zip(binding.ds.columns, binding.sources, strict=True):
        if source is None:
            arrays.append(pa.nulls(batch.num_rows, ARROW[column.type]))
            continue
        given = batch.column(source)
        array, mask = cast(decode(given, column) if column.codes else given, ARROW[column.type])
        arrays.append(array)
        if mask is not None:
            verdict = "is not a known code" if column.codes else f"is not {column.type}"
            misfits.append(Misfit(source, mask, verdict))
        if column.name == binding.ds.key:
            misfits += _key_misfits(array, mask, source, binding.month)
    typed = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return _split(batch, typed, misfits) if misfits else Conformed(typed, None)


def decode(array: pa.Array, column: Column) -> pa.Array:
    """Put codes in the place of the texts that they stand for; numbers for a number are codes already."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type) or not (column.type == "string" or _is_text(array.type)):
        return array
    encoded = array.dictionary_encode()
    given = encoded.dictionary if _is_text(array.type) else as_text(encoded.dictionary)
    words = [text.strip().lower() for text in as_text(given).to_pylist()]
    known = pa.array([word in column.codes for word in words], pa.bool_())
    codes = pa.array([_code(column, word) for word in words], given.type)
    return pc.if_else(known, codes, given).take(encoded.indices)


def _code(column: Column, word: str) -> str | None:
    code = column.codes.get(word)
    return None if code is None else str(code)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


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
        array = _tidy(array, target)
        mask = _mask(_misfits(array, target, 0), len(array))
        return _strict(pc.if_else(mask, pa.scalar(None, array.type), array), target), mask


def _tidy(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Take off what does not change a text's value: spaces around it, and a whole number's `.0`."""
    if pa.types.is_string(target) or not _is_text(array.type):
        return array
    array = pc.ascii_trim_whitespace(array)
    if pa.types.is_integer(target):
        array = pc.replace_substring_regex(array, r"^([+-]?\d+)\.0*$", r"\1")
    return array


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
        inside = pc.and_(
            pc.greater_equal(key, _start(month, key.type)), pc.less(key, _start(month.next(), key.type))
        )
        yield Misfit(source, pc.fill_null(pc.invert(inside), False), f"is outside {month}")


def _inside(key: pa.Array, month: Month) -> bool:
    bounds = pc.min_max(key)
    if not bounds["min"].is_valid:
        return True
    later = pc.greater_equal(bounds["min"], _start(month, key.type))
    return bool(later.as_py() and pc.less(bounds["max"], _start(month.next(), key.type)).as_py())


def _start(month: Month, kind: pa.DataType) -> pa.Scalar:
    zone = dt.UTC if kind.tz else None
    return pa.scalar(dt.datetime.combine(month.first_day(), dt.time(), zone), kind)


def _split(batch: pa.RecordBatch, typed: pa.RecordBatch, misfits: list[Misfit]) -> Conformed:
    bad = misfits[0].mask
    for misfit in misfits[1:]:
        bad = pc.or_(bad, misfit.mask)
    rejected = batch.filter(bad)
    if not rejected.num_rows:
        return Conformed(typed, None)
    texts = [as_text(column) for column in rejected.columns]
    reasons = [_reason(batch.schema, texts, misfit, bad) for misfit in misfits]
    texts.append(pc.binary_join_element_wise(*reasons, _text("; "), null_handling="skip"))
    schema = quarantine_schema(batch.schema)
    return Conformed(typed.filter(pc.invert(bad)), pa.RecordBatch.from_arrays(texts, schema=schema))


def _reason(schema: pa.Schema, texts: list[pa.Array], misfit: Misfit, bad: pa.BooleanArray) -> pa.Array:
    """`passenger_count 1.5 is not int16` for the rows it concerns, else null."""
    value = pc.fill_null(pc.utf8_slice_codeunits(texts[misfit.column], 0, 100), _text("(null)"))
    name, verdict = _text(schema.names[misfit.column]), _text(misfit.verdict)
    sentence = pc.binary_join_element_wise(name, value, verdict, _text(" "))
    return pc.if_else(misfit.mask.filter(bad), sentence, pa.scalar(None, pa.string()))


def _text(value: str) -> pa.Scalar:
    """One text. Of a type that is named: Arrow imports pandas to find out the type of a value."""
    return pa.scalar(value, pa.string())


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
