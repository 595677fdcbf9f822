"""Values into the catalogue's types: each is exactly what the file says, or marked as one that does not fit.

Exactly means: a number is the same number (for float64: the double nearest to what is written), a moment the
same moment, a text the same characters. Spellings that leave the value as it is are taken alike in every
format: spaces around it, a plus sign, `1e3`, zeros behind the last decimal.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from elt.catalogue import Column

# What all stores can hold: BigQuery's years.
_DAYS = (dt.date.min, dt.date.max)
_MOMENTS = tuple(
    dt.datetime.combine(day, time) for day, time in zip(_DAYS, (dt.time.min, dt.time.max), strict=True)
)
# Digits before the point of BigQuery's NUMERIC.
_WHOLE_DIGITS = 29
_TOO_LONG = rf"[1-9]\d{{{_WHOLE_DIGITS}}}|\.\d{{9}}\d*[1-9]|[eE]"
_EXPONENT = r"^[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d{1,3}$"


def decode(array: pa.Array, column: Column, target: pa.DataType) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Cast texts as the codes they stand for; in a column of numbers, numbers are codes already."""
    array = _plain(array)
    if pa.types.is_null(array.type) or not (column.type == "string" or _is_text(array.type)):
        return cast(array, target)
    # Each distinct text is looked up, and cast, once.
    encoded = array.dictionary_encode()
    given = encoded.dictionary if _is_text(array.type) else as_text(encoded.dictionary)
    spellings = [text.strip().lower() for text in as_text(given).to_pylist()]
    known = pa.array([spelling in column.codes for spelling in spellings], pa.bool_())
    values = [column.codes.get(spelling) for spelling in spellings]
    codes = pa.array([None if value is None else str(value) for value in values], given.type)
    decoded, mask = cast(pc.if_else(known, codes, given), target)
    if mask is None and decoded.equals(encoded.dictionary):
        # They are written as they are decoded.
        return array, None
    invalid = None if mask is None else pc.fill_null(mask.take(encoded.indices), False)
    return decoded.take(encoded.indices), invalid


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _plain(array: pa.Array) -> pa.Array:
    """Return the values without a dictionary, and bytes as the text that they are meant to be."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    # Whether they are UTF-8 is checked, where it matters, by `_strict`: Arrow's cast would refuse them all.
    if pa.types.is_binary(array.type):
        return array.view(pa.string())
    return array.view(pa.large_string()) if pa.types.is_large_binary(array.type) else array


def cast(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Return the values in the target type, and a mask of those that do not fit (null; None: all fit)."""
    array = _plain(array)
    if pa.types.is_floating(array.type) and not pa.types.is_floating(target):
        # pandas writes a missing whole number, text or amount as NaN.
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    try:
        return _strict(array, target), None
    except pa.ArrowInvalid:
        # The common case, in which all values fit, pays for none of this.
        if not pa.types.is_string(target) and _is_text(array.type):
            array = _respelled(array, target)
        invalid = set(_invalid(array, target, 0))
        mask = pa.array([index in invalid for index in range(len(array))], pa.bool_())
        return _strict(pc.if_else(mask, pa.scalar(None, array.type), array), target), mask


def _respelled(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Texts of the same values, in the spelling that Arrow parses."""
    array = pc.ascii_trim_whitespace(array)
    if pa.types.is_integer(target):
        array = pc.replace_substring_regex(array, r"^(\+|(-))?(\d+)(\.0*)?$", r"\2\3")
        return _rewritten(array, _EXPONENT, _whole)
    if pa.types.is_decimal(target):
        array = _plain_digits(array)
        return pc.replace_substring_regex(array, rf"(\.\d{{{target.scale}}})0+$", r"\1")
    if pa.types.is_timestamp(target):
        return pc.replace_substring_regex(array, r"(:\d\d\.\d{6})0+", r"\1")
    if pa.types.is_date(target):
        return pc.replace_substring_regex(array, r"^(\d{4}-\d\d-\d\d)[ T]00:00(:00(\.0+)?)?$", r"\1")
    return array


def _rewritten(array: pa.Array, pattern: str, rewrite: Callable[[str], str]) -> pa.Array:
    """Apply `rewrite` to the texts that match."""
    matching = pc.match_substring_regex(array, pattern)
    if not pc.any(matching).as_py():
        return array
    values = [
        rewrite(text) if match else text
        for text, match in zip(as_text(array).to_pylist(), matching.to_pylist(), strict=True)
    ]
    return pc.if_else(matching, pa.array(values, array.type), array)


def _plain_digits(array: pa.Array) -> pa.Array:
    """Texts of numbers without exponents."""
    return _rewritten(array, _EXPONENT, lambda text: format(Decimal(text), "f"))


def _whole(text: str) -> str:
    """`1e3` as `1000`; a text that is no whole number, or not one of 64 bits, stays as it is."""
    value = Decimal(text)
    if value.is_zero():
        return "0"
    return str(int(value)) if abs(value) < 1 << 64 and value == value.to_integral_value() else text


def _strict(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Cast without loss, or raise ArrowInvalid."""
    source = array.type
    if source != target:
        array = _converted(array, target)
    if pa.types.is_string(target):
        array.validate(full=True)
        # Neither Postgres nor CSV can hold a NUL.
        if pc.any(pc.match_substring(array, "\0")).as_py():
            raise pa.ArrowInvalid("NUL in text")
    elif pa.types.is_temporal(target):
        first, last = _DAYS if pa.types.is_date(target) else _MOMENTS
        zone = dt.UTC if getattr(target, "tz", None) else None
        bounds = pc.min_max(array)
        if bounds["min"].is_valid and (
            pc.less(bounds["min"], _limit(first, zone, target)).as_py()
            or pc.greater(bounds["max"], _limit(last, zone, target)).as_py()
        ):
            raise pa.ArrowInvalid("a date that no store can hold")
    return array


def _limit(value: dt.date, zone: dt.tzinfo | None, target: pa.DataType) -> pa.Scalar:
    return pa.scalar(value.replace(tzinfo=zone) if isinstance(value, dt.datetime) else value, target)


def _converted(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Arrow's cast, where it changes nothing; ArrowInvalid where it would do so in silence."""
    source = array.type
    amounts = [pa.types.is_decimal(kind) for kind in (source, target)]
    wide = all(amounts) and source.precision - source.scale > _WHOLE_DIGITS
    if wide or (any(amounts) and any(pa.types.is_floating(kind) for kind in (source, target))):
        # Arrow rounds in binary: 19.99 would become 19.990000000000002. A text's digits are the value.
        return _converted(_plain_digits(array.cast(pa.string())), target)
    whole = _is_text(source) and pa.types.is_integer(target)
    if whole and pc.any(pc.match_substring(array, "x", ignore_case=True)).as_py():
        # Arrow reads 0xFFFF as -1.
        raise pa.ArrowInvalid("hexadecimal")
    long = _is_text(source) and pa.types.is_decimal(target)
    if long and pc.any(pc.match_substring_regex(array, _TOO_LONG)).as_py():
        # Arrow forgets digits that are too many, before the point and behind it: 1 and 400 noughts would
        # become 0. `_respelled` writes exponents out.
        raise pa.ArrowInvalid("a number of too many digits")
    converted = array.cast(target)
    if _is_text(source) and pa.types.is_floating(target):
        spelled = pc.match_substring(array, "inf", ignore_case=True)
        if pc.any(pc.and_not(pc.is_inf(converted), spelled)).as_py():
            raise pa.ArrowInvalid("a number that no float64 can hold")
    # A time of the day, or a number other than 0 and 1.
    forgets = pa.types.is_date(target) and pa.types.is_temporal(source)
    forgets = forgets or (pa.types.is_boolean(target) and pa.types.is_integer(source))
    if forgets and pc.any(pc.not_equal(converted.cast(source), array)).as_py():
        raise pa.ArrowInvalid("part of the value would be lost")
    return converted


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
    array = _plain(array)
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if _is_text(array.type):
            # Not UTF-8: Python would refuse to decode it.
            array = array.view(pa.binary() if pa.types.is_string(array.type) else pa.large_binary())
        return pa.array([_legible(value) for value in array], pa.string())
    return text


def _legible(value: pa.Scalar) -> str | None:
    """One value as text, whatever it is."""
    if not value.is_valid:
        return None
    if pa.types.is_binary(value.type) or pa.types.is_large_binary(value.type):
        return str(value.as_py().decode(errors="backslashreplace"))
    try:
        return str(value.as_py())
    except (ValueError, OverflowError, LookupError):
        # A date beyond Python's calendar, or in a zone that this machine does not know.
        return f"{value.value} ({value.type})"
