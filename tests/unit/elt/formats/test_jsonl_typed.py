"""JSON lines that Arrow parses: what the exact reader makes of the same lines."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elt.catalogue import Column, Dataset
from elt.conforming.rows import conform
from elt.conforming.schema import bind
from elt.formats.batches import Typed
from elt.formats.jsonl_reader import JsonlReader
from elt.periods import Month

KINDS = ("int16", "int32", "int64", "float64", "numeric", "string", "date", "datetime", "timestamp", "bool")
CODES = {"na": 5, "none": None, "-": 0}
# As they are written.
NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.integers(-300, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-(10**6), 10**6, places=2).map(str),
    st.sampled_from(
        ["-0", "-0.0", "1.10", "5.0", "1e3", "1E+05", "12345678901234567890.5", "0.1e-400", "1e400"]
    ),
    st.sampled_from(["NaN", "-Infinity", "01", "1.", "+1", "0x10"]),
)
WORDS = st.sampled_from(
    ["", " 5 ", "2024-01-01", "2024-01-01T05:06:07Z", "na", "NaN", ": NaN", "true", "1.5"]
)
TEXTS = st.one_of(WORDS, st.text(max_size=6)).map(json.dumps)
# Escapes that readers know or do not, and what no text may have.
WRITTEN = st.sampled_from(
    [r'"\ud83d\ude00"', r'"\udc00"', r'"\u0000"', '"\t"', r'"a\"value\":1"', '"é"', '"{["']
)
OTHERS = st.sampled_from(["null", "true", "false", "[]", '[1, "x"]', '{"value": 1}', "[NaN]", ""])
NAMES = st.sampled_from(
    ["value", "value", "value", "other", "x", "Value", " value ", r"va\u006cue", r"a\"value", r"a\\", ":"]
)
LINES = st.one_of(
    st.lists(st.tuples(NAMES, st.one_of(NUMBERS, TEXTS, OTHERS, WRITTEN)), max_size=3).map(
        lambda members: "{" + "".join(f'"{name}": {value}, ' for name, value in members) + '"other": "k"}'
    ),
    st.text('{}[]":,\\ 1e\r', max_size=8),
)
# Lines of one kind, as most files have them.
ALIKE = st.one_of(NUMBERS, TEXTS).flatmap(
    lambda value: st.lists(
        st.sampled_from([value, "null", "7", "2.5", '"x"']).map('{{"value": {}, "other": "k"}}'.format),
        max_size=3,
    )
)


class Blocks(io.BytesIO):
    """A file that hands out the given blocks one by one."""

    def __init__(self, *blocks: bytes) -> None:
        super().__init__(b"".join(blocks))
        self._sizes = filter(None, map(len, blocks))

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(next(self._sizes, 0))


def entry(kind: str, codes: Mapping[str, int | None] | None = None, key: str = "other") -> Dataset:
    value = Column("value", kind, "Any.", codes=codes or {})  # type: ignore[arg-type]
    other = Column("other", "string", "Any.")
    return Dataset("own", "Own", "/own.jsonl", "own", key, (value, other))


def conformed(ds: Dataset, *blocks: bytes, month: Month | None = None) -> tuple[list, list, list[bool]]:
    """Typed values as text (Python has no year 0), quarantined rows, and which blocks came typed."""
    reader = JsonlReader(Blocks(*blocks), ds.columns)
    typed, rejected, at_once = [], [], []
    for batch in reader:
        at_once.append(isinstance(batch, Typed))
        for part in conform([batch], replace(bind(reader.schema, ds, None), period=month)):
            typed += zip(*([repr(value) for value in column] for column in part.typed.columns), strict=True)
            rejected += part.quarantined.to_pylist() if part.quarantined else []
    return typed, rejected, at_once


def encoded(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogatepass")


@pytest.mark.parametrize(
    ("kind", "codes"), [*((kind, None) for kind in KINDS), ("int16", CODES), ("string", CODES)]
)
@settings(deadline=None, max_examples=300)
@given(
    first=st.one_of(ALIKE, st.lists(LINES, max_size=4)), then=st.one_of(ALIKE, st.lists(LINES, max_size=4))
)
@example(
    first=['{"value": 1}'], then=['{"value": 9007199254740993}', '{"value": 1, "value": 2, "other": "k"}']
)
@example(first=['{"value": 1.5}'], then=['{"value": 9007199254740993}'])
@example(first=['{"value": 1.5}'], then=['{"value": 0.10000000000000000001}', '{"value": 1e22}'])
@example(first=['{"value": 1.5}'], then=['{"value":', "1}"])
@example(first=['{"value": 0, "other": "k"}'], then=['{"value": -0, "other": "k"}'])
@example(first=['{"value": 1}'], then=['{"value": 1}{"value": 2}', "[]"])
@example(
    first=['{"value": "x", "x": 1}'], then=['{"value": "x", "x": NaN}', '{"value": "x", "x": "\\udc00"}']
)
@example(
    first=['{"value": 1, "Value": 2}', '{"value": 1}', '{"Value": 2}'], then=['{"value": 1}', '{"Value": 2}']
)
def test_a_typed_block_is_what_the_exact_reader_makes_of_it(
    kind: str, codes: Mapping[str, int | None] | None, first: list[str], then: list[str]
) -> None:
    ds = entry(kind, codes)
    blocks = encoded(first), encoded(then)
    # Lines are read exactly where none were before them.
    apart = [conformed(ds, b"\n", block) for block in blocks]
    typed, rejected, _ = conformed(ds, b"\n", *blocks)
    assert (typed, rejected) == (apart[0][0] + apart[1][0], apart[0][1] + apart[1][1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ["7", "-1.5", '"2024-01-01"', "true", '"x"'])
def test_lines_like_those_before_them_are_typed_at_once(kind: str, value: str) -> None:
    block = f'{{"value": {value}, "other": "a"}}\n{{"value": null, "other": "b", "more": 1}}\n'.encode()
    typed, rejected, at_once = conformed(entry(kind), block, block)
    number = value in {"7", "-1.5"}
    texts = kind in {"date", "datetime", "timestamp", "bool"} or (kind == "string" and value == "-1.5")
    assert at_once == [False, not (number and texts) and not (value == "true" and kind != "bool")]
    assert typed[: len(typed) // 2] == typed[len(typed) // 2 :]
    assert rejected[: len(rejected) // 2] == rejected[len(rejected) // 2 :]


def test_a_kind_of_value_that_comes_later_is_learnt() -> None:
    whole, broken = b'{"value": 1}\n', b'{"value": 1.5}\n'
    assert conformed(entry("float64"), whole, broken, broken)[2] == [False, True, True]
    assert conformed(entry("numeric"), whole, broken, broken)[2] == [False, False, True]


def test_quarantine_has_the_lines_as_they_were_published() -> None:
    ds = entry("datetime", key="value")
    lines = [
        f'{{"value": "{day}T00:00:00.50", "x": 1.10}}\n'.encode() for day in ("2024-01-01", "2023-01-01")
    ]
    _, rejected, at_once = conformed(ds, lines[0], b"".join(lines), month=Month(2024, 1))
    assert at_once == [False, True]
    assert [row["source_line"].encode() + b"\n" for row in rejected] == lines[1:]
    assert rejected[0]["value"] == "2023-01-01T00:00:00.50"


def test_a_new_name_is_read_exactly_and_then_known() -> None:
    ds, blocks = (
        entry("int64"),
        [b'{"value": 1}\n', b'{"value": 1, "new": [1]}\n', b'{"value": 1, "new": [2]}\n'],
    )
    reader = JsonlReader(Blocks(*blocks), ds.columns)
    assert [isinstance(batch, Typed) for batch in reader] == [False, False, True]
    assert reader.unknown == ("new",)


def test_a_name_with_an_escaped_quote_is_known_as_a_whole() -> None:
    reader = JsonlReader(Blocks(b'{"value": 1}\n', b'{"a\\"value": 1}\n'), entry("int64").columns)
    assert [isinstance(batch, Typed) for batch in reader] == [False, False]
    assert reader.unknown == ('a"value',)


@pytest.mark.parametrize("kind", ["int16", "int64", "float64", "numeric", "string"])
def test_a_number_that_is_a_code_is_what_it_stands_for(kind: str) -> None:
    typed, rejected, _ = conformed(entry(kind, {"7": 5, "na": None}), *[b'{"value": 7, "other": "k"}\n'] * 2)
    assert typed[0] == typed[1]
    assert ("5" in typed[0][0], rejected) == (True, [])


def test_a_deeply_nested_block_never_reaches_arrow() -> None:
    ds, deep = entry("int64"), b'{"value": 1, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
    _, rejected, at_once = conformed(ds, b'{"value": 1, "x": 1, "other": "k"}\n', deep)
    assert (len(rejected), any(at_once)) == (1, False)
