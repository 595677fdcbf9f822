"""CSV that is typed as it is split: the values that its texts have, and its texts where one does not fit."""

import io
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pieces import Pieces

from elt.catalogue import Column, Dataset
from elt.conforming.rows import conform
from elt.conforming.schema import bind, parseable
from elt.formats.batches import LINE, Typed
from elt.formats.csv_reader import CsvReader
from elt.periods import Month

TYPES = ("int16", "int32", "int64", "float64", "date", "datetime", "timestamp")
# Letters of numbers, dates and of what looks like them.
TEXTS = st.text("0123456789+-.,eExXnaifNAT:/ Z\t\"'_", max_size=24)
MOMENTS = st.builds(
    "{}{}{}{}".format,
    st.dates().map(str),
    st.sampled_from(["", " ", "T"]),
    st.times().map(str),
    st.sampled_from(["", "Z", "+01:00", "-0500", " UTC", ".5"]),
)
NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65).map(str), st.floats().map(str), st.floats().map("{:.3e}".format)
)
# Words that other readers take for null.
WORDS = st.sampled_from(["NA", "N/A", "null", "NULL", "nan", "NaN", "none", "-"])
# "NA" is one of them, and "1" is none.
CODES = {"na": 5, "none": None, "-": 0}


def entry(kind: str, key: str = "other", codes: Mapping[str, int | None] | None = None) -> Dataset:
    value = Column("value", kind, "Any.", codes=codes or {})  # type: ignore[arg-type]
    return Dataset("own", "Own", "/own.csv", "own", key, (value, Column("other", "string", "Any.")))


def countable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same with moments as the integers they are: Python has none before the year 1 in UTC."""
    columns = [pc.cast(a, pa.int64()) if pa.types.is_timestamp(a.type) else a for a in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def conformed(
    text: str, ds: Dataset, types: Mapping[str, pa.DataType] | None = None
) -> tuple[list[object], list[object], bool]:
    """Typed values and quarantined rows of a file, and whether it was typed as it was split."""
    reader = CsvReader(io.BytesIO(text.encode()), ds.delimiter, parseable(ds) if types is None else types)
    batches = list(reader)
    typed, rejected = [], []
    for part in conform(iter(batches), bind(reader.schema, ds, None)):
        typed += countable(part.typed).to_pylist()
        rejected += part.quarantined.to_pylist() if part.quarantined else []
    return typed, rejected, any(isinstance(batch, Typed) for batch in batches)


@pytest.mark.parametrize(("kind", "codes"), [*((kind, None) for kind in TYPES), ("int16", CODES)])
@settings(deadline=None, max_examples=300)
@given(values=st.lists(st.one_of(TEXTS, MOMENTS, NUMBERS, WORDS), min_size=1, max_size=3))
@example(values=["0x10"])
@example(values=[" 1", "1 "])
@example(values=["1.0"])
@example(values=["nan", "NaN", "inf", "-Infinity"])
@example(values=["2024-01-01 00:00:00", "2024-01-01T00:00:00.123456"])
@example(values=["2024-01-01", "2024-02-30"])
@example(values=["0001-01-01 00:00:00+01:00"])
@example(values=["", " "])
def test_what_is_typed_at_once_is_what_the_texts_become(
    kind: str, codes: Mapping[str, int | None] | None, values: list[str]
) -> None:
    quoted = [value.replace('"', '""') for value in values]
    text = "value,other\n" + "".join(f'"{value}",x\n' for value in quoted)
    ds = entry(kind, codes=codes)
    at_once, by_texts = conformed(text, ds), conformed(text, ds, types={})
    assert not by_texts[2]
    assert repr(at_once[:2]) == repr(by_texts[:2])


def test_good_values_are_typed_at_once() -> None:
    typed, rejected, at_once = conformed("value,other\n7,x\n,y\n", entry("int16"))
    assert at_once
    assert (typed, rejected) == ([{"value": 7, "other": "x"}, {"value": None, "other": "y"}], [])


@pytest.mark.parametrize("word", ["NA", "N/A", "null", "NULL", "nan", "NaN", "none", "#N/A"])
@pytest.mark.parametrize("types", [None, {}])
def test_only_nothing_is_null_and_a_word_for_it_stays_a_text(word: str, types: dict | None) -> None:
    typed, rejected, at_once = conformed(f"value,other\n7,{word}\n,{word}\n", entry("int16"), types)
    assert at_once == (types is None)
    assert typed == [{"value": 7, "other": word}, {"value": None, "other": word}]
    assert rejected == []


def test_a_word_for_null_is_no_number() -> None:
    _, rejected, _ = conformed("value,other\nNA,x\n7,y\n", entry("int16"))
    assert [row["reason"] for row in rejected] == ["value NA is not int16"]  # type: ignore[index]


def test_a_row_for_quarantine_keeps_its_texts() -> None:
    """The value of another column is as it was published, not as it would be written again."""
    ds = entry("datetime", "value")
    text = "value,other\n2024-01-01T00:00:00.50,x\n,y\n"
    typed, rejected, at_once = conformed(text, ds)
    assert at_once
    assert [row["other"] for row in typed] == ["x"]  # type: ignore[index]
    assert rejected[0]["reason"] == "value (null) is missing"  # type: ignore[index]


def test_a_month_that_is_another_ones_keeps_its_texts() -> None:
    ds = entry("datetime", "value")
    content = b"value,other\n2024-01-01T00:00:00.50,x\n2023-01-01T00:00:00.50,y\n"
    reader = CsvReader(io.BytesIO(content), ",", parseable(ds))
    batches = list(reader)
    assert isinstance(batches[0], Typed)
    month = Month(2024, 1)
    own, other = conform(iter(batches), replace(bind(reader.schema, ds, None), period=month))
    assert (own.typed.num_rows, own.quarantined, other.typed.num_rows) == (1, None, 0)
    assert other.quarantined is not None
    assert other.quarantined.column("value").to_pylist() == ["2023-01-01T00:00:00.50"]


@pytest.mark.parametrize(("bad", "then"), [(3, Typed), (4, pa.RecordBatch)])
def test_after_four_blocks_that_do_not_fit_a_file_is_read_as_texts_only(bad: int, then: type) -> None:
    first, block = b"value,other\n1.5,x\n", b"1.5,x\n" * 3
    content = first + block * (bad - 1) + b"7,y\n"
    reader = CsvReader(Pieces(content, len(block)), ",", {"value": pa.int16()})
    *_, last = reader
    assert isinstance(last, then)


def test_a_column_that_does_not_fit_leaves_the_others_typed() -> None:
    content = b"value,rest,other\n7,CMT,1\n1,VTS,1e999\n"
    types = {"value": pa.int16(), "rest": pa.int16(), "other": pa.float64()}
    (batch,) = CsvReader(io.BytesIO(content), ",", types)
    assert isinstance(batch, Typed)
    assert batch.rows.drop_columns([LINE]).to_pydict() == {
        "value": [7, 1],
        "rest": ["CMT", "VTS"],
        "other": ["1", "1e999"],
    }


@pytest.mark.parametrize(("codes", "at_once"), [(CODES, True), ({"1": 2}, False)])
def test_codes_are_typed_at_once_unless_a_number_is_one(codes: Mapping[str, int], at_once: bool) -> None:
    typed, _, was = conformed("value,other\n1,x\n,y\n", entry("int16", codes=codes))
    assert was == at_once
    assert [row["value"] for row in typed] == [1 if at_once else 2, None]  # type: ignore[index]
