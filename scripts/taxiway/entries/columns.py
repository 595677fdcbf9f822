"""The columns of a file: a legal name for each, and the narrowest type in which every value seen is exact.

What is exact, the product's own casts say; a value that a store would hold otherwise than it is written (a
leading zero) is text.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from elt.catalogue import Column, Type
from elt.conforming.casting import as_text, cast
from elt.conforming.schema import ARROW
from elt.errors import InvalidDatasetError
from elt.formats.batches import LINE, Malformed, Typed
from elt.formats.raw_file import open_raw
from taxiway.entries.sample import Sample, columns_as_text, declared, names, provisional

TEMPORAL: tuple[Type, ...] = ("datetime", "timestamp", "date")
# The narrowest first.
_OF_TEXT: tuple[Type, ...] = ("bool", "int64", "float64", "numeric", "date", "datetime", "timestamp")
# JSON and Parquet say what is text; but JSON has no dates, and some publishers write them as text anyway.
TEMPORAL_TEXT: tuple[Type, ...] = ("date", "datetime", "timestamp")
Bounds = tuple[dt.datetime, dt.datetime]
_MONEY = re.compile(
    r"(^|_)(amount|amt|price|fare|total|cost|fee|fees|tax|tip|tips|toll|tolls|charge|surcharge|revenue|salary|"
    r"balance|payment|paid|budget|discount|usd|eur|gbp)(_|$)"
)
_WHOLE = r"^\s*(0|-?[1-9]\d*)\s*$"
_DECIMAL = r"^\s*-?(0|[1-9]\d*)?(\.\d+)?\s*$"
_NUMBER = r"(?i)^\s*-?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[-+]?\d{1,3})?\s*$|^\s*-?(nan|inf|infinity)\s*$"
_SPELLINGS: Mapping[Type, str] = {
    "bool": r"(?i)^\s*(true|false)\s*$",
    "int64": _WHOLE,
    "numeric": _DECIMAL,
    "float64": _NUMBER,
    "date": r"^\s*\d{4}-\d\d-\d\d\s*$",
    "datetime": r"^\s*\d{4}-\d\d-\d\d",
    "timestamp": r"^\s*\d{4}-\d\d-\d\d[ T]\d\d",
}
# What publishers write for "there is none"; a column of numbers with one of these is text, and a remark.
_ABSENT = ("na", "n/a", "null", "none", "nil", "-", "--", "?", "\\n", "nan", "#n/a", "missing", "unknown")
_COMMA, _THOUSANDS = re.compile(r"\s*-?\d+,\d+\s*"), re.compile(r"\s*-?\d{1,3},\d{3}\s*")
_EXAMPLES, _MOST_DISTINCT, _LETTERS = 3, 1000, 30
# Significant digits that every float64 keeps.
_SURE_DIGITS = 15


@dataclass
class Profile:
    """What is known of one column of a file, after the batches that `add` was given."""

    name: str
    declared: pa.DataType
    candidates: list[Type]
    rows: int = 0
    nulls: int = 0
    bounds: dict[Type, tuple[Any, Any]] = field(default_factory=dict)
    money_like: bool = True
    doubles: bool = True
    whole: bool = True
    nested: bool = False
    others: set[str] = field(default_factory=set)
    """Texts that are no numbers, beside `numbers` that are: a few, no more than tell what it is."""
    numbers: int = 0
    inside: Counter[Type] = field(default_factory=Counter)
    misfits: int = 0
    _distinct: dict[str, None] = field(default_factory=dict)
    _pieces: list[pa.Array] = field(default_factory=list)
    _unique: bool = True

    @property
    def is_text(self) -> bool:
        """Whether the file has it as text, so that its values alone say what it is."""
        return bool(pa.types.is_string(self.declared))

    @property
    def type(self) -> Type:
        """The narrowest type of all values seen; text where there were none."""
        if self.is_text and self.rows == self.nulls:
            return "string"
        kinds = [kind for kind in self.candidates if kind != "float64" or not self._is_no_float]
        if kinds[:2] == ["float64", "numeric"] and self._wants_numeric:
            return "numeric"
        return kinds[0] if kinds else "string"

    @property
    def _is_no_float(self) -> bool:
        """Whether texts that float64 takes are better left alone: nothing but NaN, or ids of many digits."""
        too_long = self.whole and not self.doubles and "numeric" not in self.candidates
        return self.is_text and ("float64" not in self.bounds or too_long)

    @property
    def _wants_numeric(self) -> bool:
        """Whether a number with decimals is money, or has digits that float64 loses."""
        return not self.doubles or (self.money_like and bool(_MONEY.search(snake(self.name))))

    @property
    def examples(self) -> list[str]:
        """A few values."""
        return list(self._distinct)[:_EXAMPLES]

    @property
    def distinct(self) -> int:
        """How many different values there were; _MOST_DISTINCT or more if they were not counted on."""
        return len(self._distinct)

    @property
    def is_unique(self) -> bool:
        """Whether no value came twice, and none was missing."""
        if not self._unique or self.nulls or not self._pieces:
            return False
        values = pa.chunked_array(self._pieces)
        return bool(pc.count_distinct(values).as_py() == len(values))

    def add(self, array: pa.Array, within: Bounds | None) -> None:
        """Take the values of a batch; `within` are the first moment of the file's period and of the next."""
        self.rows += len(array)
        values = array.drop_null()
        self.nulls += len(array) - len(values)
        if self.is_text:
            values = self._legible(values)
        if not len(values):
            return
        unique = values.unique()
        self._unique = self._unique and len(unique) == len(values)
        if self._unique:
            self._pieces.append(values)
        if len(self._distinct) < _MOST_DISTINCT:
            self._distinct.update(dict.fromkeys(as_text(unique[:_MOST_DISTINCT]).to_pylist()))
        if self.is_text:
            self._look_at_texts(unique)
        for kind in list(self.candidates):
            self._try(kind, unique)
        for kind in self.candidates if within else ():
            if within and kind in TEMPORAL:
                self._count_inside(values, kind, within)

    def _legible(self, texts: pa.Array) -> pa.Array:
        """The texts that are UTF-8, as they have to be."""
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            kept = [text for text in texts.view(pa.binary()).to_pylist() if _is_utf8(text)]
            self.misfits += len(texts) - len(kept)
            return pa.array(kept, pa.binary()).view(pa.string())
        return texts

    def _look_at_texts(self, texts: pa.Array) -> None:
        if len(self.others) <= len(_ABSENT):
            numbers = pc.match_substring_regex(texts, _NUMBER)
            self.numbers += pc.sum(numbers).as_py() or 0
            self.others.update(texts.filter(pc.invert(numbers))[: len(_ABSENT) + 1].to_pylist())
        if "float64" in self.candidates:
            cents = pc.match_substring_regex(texts, r"^\s*-?\d*(\.\d{1,2})?\s*$")
            self.money_like = self.money_like and bool(pc.all(cents).as_py())
            self.whole = self.whole and bool(pc.all(pc.match_substring_regex(texts, _WHOLE)).as_py())
            digits = pc.utf8_length(pc.replace_substring_regex(texts, r"[^\d]|[eE].*$", ""))
            long = texts.filter(pc.greater(digits, _SURE_DIGITS)).to_pylist()
            self.doubles = self.doubles and all(map(_is_double, long))

    def _try(self, kind: Type, values: pa.Array) -> None:
        """Give a candidate up if it does not hold all of these values as they are written."""
        if self.is_text and not pc.all(pc.match_substring_regex(values, _SPELLINGS[kind])).as_py():
            self.candidates.remove(kind)
            return
        typed, misfits = cast(values, ARROW[kind])
        if misfits is not None and (missed := pc.sum(misfits).as_py()):
            if self.is_text:
                self.candidates.remove(kind)
                return
            self.misfits += missed
        if kind == "float64":
            typed = typed.filter(pc.invert(pc.is_nan(typed)))
        if kind in ("string", "bool") or typed.null_count == len(typed):
            return
        found = pc.min_max(typed).as_py()
        low, high = self.bounds.get(kind, (found["min"], found["max"]))
        self.bounds[kind] = (min(low, found["min"]), max(high, found["max"]))

    def _count_inside(self, values: pa.Array, kind: Type, within: Bounds) -> None:
        """Count the values that lie in the file's period, as moments of that type."""
        target = ARROW["datetime" if kind == "date" else kind]
        moments, _ = cast(values, target)
        zone = dt.UTC if target.tz else None
        start, end = (pa.scalar(each.replace(tzinfo=zone), target) for each in within)
        inside = pc.and_(pc.greater_equal(moments, start), pc.less(moments, end))
        self.inside[kind] += pc.sum(inside).as_py() or 0


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_double(text: str) -> bool:
    """Whether a number of many digits is what a float64 is written like."""
    try:
        return Decimal(repr(float(text))) == Decimal(text.strip())
    except (ValueError, ArithmeticError):
        return True  # no number: float64 is not asked about it


@dataclass(frozen=True)
class Seen:
    """A file's columns, as far as they can be told apart, and what of it was looked at."""

    profiles: Sequence[Profile]
    rows: int
    broken: int
    """Lines that are no rows."""
    left_out: Sequence[str]
    """Names that several columns have."""


def look(sample: Sample, within: Bounds | None) -> Seen:
    """Look at all values of a sample.

    elt.errors.PermanentError for a file that the product cannot read at all.
    """
    schema = declared(sample)
    known = list(schema.names) if schema else [name for name in names(sample) if name != LINE]
    counts = Counter(_key(name) for name in known)
    apart = [name for name in known if counts[_key(name)] == 1]
    nested = [_profile(name, schema.field(name).type) for name in apart if schema]
    nested = [profile for profile in nested if not convertible(profile.declared)]
    # Values of types that no column can have are not even read.
    columns = columns_as_text(name for name in apart if name not in {profile.name for profile in nested})
    texts = _json_texts(sample)
    sample.content.seek(0)
    raw = open_raw(sample.content, sample.name, provisional(sample, columns), {})
    places = {_key(name): index for index, name in enumerate(raw.schema.names)}
    if sample.plain == "jsonl":
        # Its reader calls columns as the entry does.
        places = {_key(column.description): places[column.name] for column in columns}
    found: dict[int, Profile] = {}
    for column in columns:
        index = places[_key(column.description)]
        kind = raw.schema.field(index).type
        found[index] = _profile(
            column.description, kind, is_typed=bool(schema) or _key(column.description) in texts
        )
    rows = broken = 0
    try:
        for batch in raw.batches:
            if isinstance(batch, Malformed):
                broken += batch.lines.num_rows
                continue
            table = batch.rows if isinstance(batch, Typed) else batch
            rows += table.num_rows
            for index, profile in found.items():
                values = table.column(index)
                # A number of JSON that is parsed ahead is the text that it is in other lines.
                values = values.cast(pa.string()) if isinstance(batch, Typed) else values
                profile.add(_decoded(values), within)
            if sample.most_rows is not None and rows >= sample.most_rows:
                break
    finally:
        raw.close()
    left_out = [name for name in dict.fromkeys(known) if counts[_key(name)] > 1]
    for profile in found.values():
        profile.nested = sample.plain == "jsonl" and any(text[:1] in "[{" for text in profile.examples)
    return Seen([*found.values(), *nested], rows, broken, left_out)


def _key(name: str) -> str:
    """What names have in common that mean one column."""
    return name.strip().lower()


def _json_texts(sample: Sample) -> set[str]:
    """Names, in lower case, of the fields that a file of JSON lines has as text, which they stay."""
    if sample.plain != "jsonl":
        return set()
    found = set[str]()
    sample.content.seek(0)
    for line in sample.content:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.update(_key(name) for name, item in value.items() if isinstance(item, str))
    return found


def _decoded(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_binary(array.type) or pa.types.is_large_string(array.type):
        array = array.view(pa.large_binary()).cast(pa.binary())
    return array.view(pa.string()) if pa.types.is_binary(array.type) else array


def _profile(name: str, kind: pa.DataType, *, is_typed: bool = False) -> Profile:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_any_text(kind):
        return Profile(name, pa.string(), list(TEMPORAL_TEXT if is_typed else _OF_TEXT))
    ours = _declared(kind)
    return Profile(name, kind, [ours] if ours else [])


def _is_any_text(kind: pa.DataType) -> bool:
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(check(kind) for check in checks)


_DECLARED: Sequence[tuple[Callable[[pa.DataType], bool], Type]] = (
    (pa.types.is_boolean, "bool"),
    (pa.types.is_int8, "int16"),
    (pa.types.is_uint8, "int16"),
    (pa.types.is_int16, "int16"),
    (pa.types.is_uint16, "int32"),
    (pa.types.is_int32, "int32"),
    (pa.types.is_uint64, "numeric"),
    (pa.types.is_integer, "int64"),
    (pa.types.is_floating, "float64"),
    (pa.types.is_date, "date"),
    (pa.types.is_null, "string"),
)


def _declared(kind: pa.DataType) -> Type | None:
    """The type for one that a Parquet file declares; None if no column can be it."""
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz else "datetime"
    if pa.types.is_decimal(kind):
        return "numeric" if kind.scale <= 9 and kind.precision - kind.scale <= 29 else "string"
    return next((ours for check, ours in _DECLARED if check(kind)), None)


def convertible(kind: pa.DataType) -> bool:
    """Whether a column of the catalogue can be of this type of a file."""
    return _is_any_text(kind) or _declared(kind) is not None


def snake(name: str) -> str:
    """A name in lower case with underscores: `Start Date`, `startDate` and `START-DATE` as start_date."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    return re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")


def legal(name: str, number: int, taken: Collection[str]) -> str:
    """A name that all stores take for a file's `number`th column, and that no other column has."""
    wanted = snake(name)[:60] or f"column_{number}"
    wanted = f"_{wanted}" if wanted[0].isdigit() else wanted
    if any(Column(wanted, "string", "-").mistakes()):
        wanted = f"{wanted.strip('_')}_"
    free, count = wanted, 1
    while free in taken:
        count += 1
        free = f"{wanted[:58]}_{count}"
    return free


def described(name: str, given: str) -> str:
    """The column's own name as a sentence: all that a file says of it."""
    words = " ".join((given.replace("_", " ") if given.strip() else name.replace("_", " ")).split())
    # Of a name without capitals; one with them is how its publisher writes it.
    return f"{words[:1].upper()}{words[1:]}."


def remarks(profile: Profile, column: Column) -> Iterator[str]:
    """What was seen in a column, for the comment above it."""
    seen = profile.rows - profile.nulls
    if not seen:
        yield "no value"
        return
    if column.type == "string":
        shown = ", ".join(map(_quoted, profile.examples))
        more = f"{profile.distinct:,}" if profile.distinct < _MOST_DISTINCT else "many"
        yield f"{more} different: {shown}" if profile.distinct > _EXAMPLES else shown
    elif column.type == "bool":
        yield "true or false"
    elif column.type in profile.bounds:
        low, high = profile.bounds[column.type]
        yield f"{_plain(low)} to {_plain(high)}"
    if profile.nulls:
        yield f"empty in {profile.nulls:,} of {profile.rows:,} rows"
    yield from _advice(profile, column)


def _advice(profile: Profile, column: Column) -> Iterator[str]:
    """What a user may want otherwise."""
    if profile.nested:
        yield "lists or objects, as their JSON"
    if profile.misfits:
        yield f"{profile.misfits:,} values do not fit: quarantine"
    if column.type == "float64" and not profile.is_text and _MONEY.search(column.name):
        yield "numeric, if it is money and has nine decimals at most"
    yield from why_text(profile, column)


def why_text(profile: Profile, column: Column) -> Iterator[str]:
    """What a column that may be meant as one of numbers has that is none, and what to do."""
    words = sorted(profile.others)
    if column.type != "string" or not words:
        return
    if all(map(_COMMA.fullmatch, words)) and not all(map(_THOUSANDS.fullmatch, words)):
        yield f"decimals after a comma: a number is SAFE_CAST(REPLACE({column.name}, ',', '.') AS NUMERIC)"
    elif not profile.numbers:
        return
    elif all(word.strip().lower() in _ABSENT for word in words):
        codes = ", ".join(f'"{word.strip().lower()}": None' for word in words)
        yield f"all others are numbers: of such a type with codes={{{codes}}}"
    elif len(words) <= _EXAMPLES < profile.numbers + 2:
        yield (
            f"numbers but for {', '.join(map(_quoted, words))}: if it is one, give its type "
            f"(--type {column.name}=numeric), and such rows are quarantined"
        )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…")


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return str(value).replace("+00:00", "Z")


def check_type(kind: str, given: str) -> Type:
    """A type that was asked for; elt.errors.InvalidDatasetError if there is none of that name."""
    for known in ARROW:
        if kind == known:
            return known
    raise InvalidDatasetError(f"{given!r} names the type {kind!r}. Use one of {', '.join(ARROW)}.")


def column_for(profile: Profile, number: int, taken: Iterable[str], kind: Type | None = None) -> Column:
    """The catalogue's column for a file's; `kind` if another type was asked for."""
    name = legal(profile.name, number, {*taken})
    given = profile.name.strip()
    return Column(
        name,
        kind or profile.type,
        described(name, given),
        aliases=() if given.lower() == name else (given,),
        required=not profile.nulls and profile.rows > 0,
    )
