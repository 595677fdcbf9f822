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
    values = [column.codes.get(spelling) for spelling in spellings]
    codes = pa.array([None if value is None else str(value) for value in values], given.type)
    return pc.if_else(known, codes, given).take(encoded.indices)


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
        if not pa.types.is_string(target) and _is_text(array.type):
            # What does not change a text's value: spaces around it, and a whole number's `.0`.
            array = pc.ascii_trim_whitespace(array)
            if pa.types.is_integer(target):
                array = pc.replace_substring_regex(array, r"^([+-]?\d+)\.0*$", r"\1")
        invalid = set(_invalid(array, target, 0))
        mask = pa.array([index in invalid for index in range(len(array))], pa.bool_())
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


def as_text(array: pa.Array) -> pa.Array:
    """Return any values as readable text, valid UTF-8; null stays null."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Text that is not UTF-8, or lists and structs, which Arrow cannot cast.
        if _is_text(array.type):
            # Python would refuse to decode it.
            array = array.cast(pa.binary() if pa.types.is_string(array.type) else pa.large_binary())
        values = [
            value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
            for value in array.to_pylist()
        ]
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return text
