"""The catalogue's schema in Arrow's types, and how a file's columns are matched with it."""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa

from elt.catalogue import Column, Dataset, Type
from elt.errors import PermanentError
from elt.formats.batches import LINE
from elt.periods import Period

ARROW: dict[Type, pa.DataType] = {
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    # BigQuery's NUMERIC: 29 digits before the point and nine behind it.
    "numeric": pa.decimal128(38, 9),
    "string": pa.string(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "timestamp": pa.timestamp("us", "UTC"),
    "bool": pa.bool_(),
}
REASON = "reason"
# Of a partition of several files: which one a quarantined row is from.
FILE = "source_file"
_NAMES, _NAME_LENGTH = 20, 60

_Check = Callable[[pa.DataType], bool]
_Checks = tuple[_Check, ...]
_TEXT: _Checks = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_null,
)
_NUMBER: _Checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_TIME: _Checks = (pa.types.is_timestamp, pa.types.is_date)
_UTC = ("UTC", "Etc/UTC", "Z", "+00:00")
# Types whose values mean the same in the target type. Arrow casts more: a number to a time, for one.
_CONVERTIBLE: dict[Type, _Checks] = {
    "string": (*_TEXT, *_NUMBER, pa.types.is_boolean),
    "date": (*_TEXT, *_TIME),
    "datetime": (*_TEXT, *_TIME),
    "timestamp": (*_TEXT, *_TIME),
    "bool": (*_TEXT, pa.types.is_integer, pa.types.is_boolean),
}


@dataclass(frozen=True)
class Binding:
    """Which source column feeds which typed column (None: nulls), and the file's columns that feed none."""

    ds: Dataset
    period: Period | None
    sources: tuple[int | None, ...]
    drift: tuple[str, ...]


def typed_schema(ds: Dataset) -> pa.Schema:
    """The dataset's one schema, the same for all years."""
    return pa.schema([pa.field(c.name, ARROW[c.type]) for c in ds.columns])


def quarantine_schema(source: pa.Schema) -> pa.Schema:
    """All of a file's columns as text, and the reason.

    A column whose name is taken gets a number behind it: readers refuse a file with two of one name, and
    most of them see no difference between upper and lower case.
    """
    *given, last = source.names
    # Readers of text put the line itself behind the file's columns.
    ours = [last] if last == LINE else []
    taken = {LINE, FILE, REASON}
    names = list[str]()
    for name in given if ours else source.names:
        free, number = name, 1
        while free.lower() in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free.lower())
        names.append(free)
    return pa.schema([pa.field(name, pa.string()) for name in (*names, *ours, REASON)])


def bind(
    schema: pa.Schema, ds: Dataset, period: Period | None, unread: tuple[str, ...] = (), file: str = ""
) -> Binding:
    """Match a file's columns with the catalogue's, by name; `unread` are columns of it that are not read.

    Raises PermanentError if a column is missing, given twice or of a type that cannot be converted.
    """
    file = file or ds.file_name(period)
    sources = tuple(_find(schema, column, file) for column in ds.columns)
    found = {column.name for column, index in zip(ds.columns, sources, strict=True) if index is not None}
    check_complete(ds, period, found, (*schema.names, *unread), file)
    used = {index for index in sources if index is not None}
    drift = tuple(name for index, name in enumerate(schema.names) if index not in used and name != LINE)
    return Binding(ds, period, sources, (*drift, *unread))


def check_complete(
    ds: Dataset, period: Period | None, found: Set[str], names: Iterable[str], file: str
) -> None:
    """Raise PermanentError if a required column is not among `found`; the file calls its columns `names`."""
    for column in ds.columns:
        if column.name not in found and column.instead not in found and column.required_in(period):
            has = ", ".join(some([name for name in names if name != LINE])) or "none"
            raise PermanentError(
                f"{file}: column {column.name} is lost (the file has {has}). If it has another name now, add "
                "that to its aliases; if it may be missing, set required=False."
            )


def some(names: Sequence[str]) -> list[str]:
    """The first names of columns, shortened: a file may have thousands, of any length."""
    shown = [" ".join(name.split())[:_NAME_LENGTH] for name in names[:_NAMES]]
    return [*shown, f"… and {len(names) - _NAMES:,} more"] if len(names) > _NAMES else shown


def parseable(ds: Dataset) -> dict[str, pa.DataType]:
    """Types, by each name in lower case, of the columns that Arrow's CSV parser reads as `cast` would.

    Not so texts and `numeric` (they need checks), truth values, of which the parser knows other spellings,
    and codes that a number may be.
    """
    return {
        name: ARROW[column.type]
        for column in ds.columns
        if column.type not in ("bool", "numeric", "string")
        and (not column.codes or (pa.types.is_integer(ARROW[column.type]) and not _has_digits(column.codes)))
        for name in column.known_names
    }


def _has_digits(texts: Iterable[str]) -> bool:
    return any(letter.isdigit() for text in texts for letter in text)


def _find(schema: pa.Schema, column: Column, file: str) -> int | None:
    found = [i for i, name in enumerate(schema.names) if name.strip().lower() in column.known_names]
    if len(found) > 1:
        names = " and ".join(some([schema.names[i] for i in found]))
        raise PermanentError(f"{file}: {names} are both {column.name}")
    if not found:
        return None
    source = schema.field(found[0])
    kind = source.type.value_type if pa.types.is_dictionary(source.type) else source.type
    if not any(check(kind) for check in _CONVERTIBLE.get(column.type, (*_TEXT, *_NUMBER))):
        raise PermanentError(
            f"{file}: column {source.name} has type {source.type}, which cannot become {column.type}"
        )
    zone = getattr(kind, "tz", None)
    if zone not in (None, *_UTC) and column.type in ("date", "datetime"):
        # Local there is hours away from local here, and nothing says which one is meant.
        raise PermanentError(
            f"{file}: column {source.name} has moments in {zone}, whose {column.type} depends on the zone. "
            "Describe it as a timestamp."
        )
    return found[0]
