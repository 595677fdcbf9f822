"""Values into the catalogue's types, without loss: what does not fit is marked, never changed."""

import pyarrow as pa
import pyarrow.compute as pc

from elt.catalogue import Column


def decode(array: pa.Array, column: Column) -> pa.Array:
    """Replace texts by the codes they stand for; numbers in a column of numbers are codes already."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type) or not (column.type == "string" or _is_text(array.type)):
        return array
    # Each distinct text is looked up once.
    encoded = array.dictionary_encode()
    given = encoded.dictionary if _is_text(array.type) else as_text(encoded.dictionary)
    spellings = [text.strip().lower() for text in as_text(given).to_pylist()]
    known = pa.array([spelling in column.codes for spelling in spellings], pa.bool_())
    codes = pa.array([_code(column, spelling) for spelling in spellings], given.type)
    return pc.if_else(known, codes, given).take(encoded.indices)


def _code(column: Column, spelling: str) -> str | None:
    code = column.codes.get(spelling)
    return None if code is None else str(code)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def cast(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Return the values in the target type, and a mask of those that do not fit (null; None: all fit)."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_integer(target) and pa.types.is_floating(array.type):
        # pandas writes a missing whole number as NaN.
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    try:
        return _strict(array, target), None
    except pa.ArrowInvalid:
        # The common case, in which all values fit, pays for none of this.
        array = _tidy(array, target)
        mask = _mask(_invalid(array, target, 0), len(array))
        return _strict(pc.if_else(mask, pa.scalar(None, array.type), array), target), mask


def _strict(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Cast without loss, or raise ArrowInvalid."""
    if array.type != target:
        array = array.cast(target)
    if pa.types.is_string(target):
        array.validate(full=True)
        # Neither Postgres nor CSV can hold a NUL.
        if pc.any(pc.match_substring(array, "\0")).as_py():
            raise pa.ArrowInvalid("NUL in text")
    return array


def _tidy(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Remove what does not change a text's value: spaces around it, and a whole number's `.0`."""
    if pa.types.is_string(target) or not _is_text(array.type):
        return array
    array = pc.ascii_trim_whitespace(array)
    if pa.types.is_integer(target):
        array = pc.replace_substring_regex(array, r"^([+-]?\d+)\.0*$", r"\1")
    return array


def _invalid(array: pa.Array, target: pa.DataType, offset: int) -> list[int]:
    """Indices of values that the strict cast rejects, found by halving: it alone decides what fits."""
    try:
        _strict(array, target)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [offset]
        half = len(array) // 2
        return _invalid(array[:half], target, offset) + _invalid(array[half:], target, offset + half)
    return []


def _mask(indices: list[int], length: int) -> pa.BooleanArray:
    chosen = set(indices)
    return pa.array([i in chosen for i in range(length)], pa.bool_())


def as_text(array: pa.Array) -> pa.Array:
    """Return any values as readable text, valid UTF-8; null stays null."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Text that is not UTF-8, or lists and structs, which Arrow cannot cast.
        return pa.array([_legible(value) for value in _values(array)], pa.string())
    return text


def _values(array: pa.Array) -> list[object]:
    if _is_text(array.type):
        # Python would refuse to decode it.
        array = array.cast(pa.binary() if pa.types.is_string(array.type) else pa.large_binary())
    values: list[object] = array.to_pylist()
    return values


def _legible(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return None if value is None else str(value)
