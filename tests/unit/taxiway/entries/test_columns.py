"""What is inferred of a file's columns, and that conform then takes every row with its value."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elt.catalogue.model import Format
from elt.conforming.schema import ARROW
from elt.conforming.stream import Split
from taxiway.entries.columns import Profile, column_for, legal, look, remarks, snake
from taxiway.entries.guess import Guess, Wanted, guess
from taxiway.entries.sample import Sample


def sample(content: bytes, form: Format = "csv", delimiter: str = ",", *, whole: bool = True) -> Sample:
    return Sample(f"some.{form}", form, delimiter, io.BytesIO(content), whole)


def profile(*values: str, name: str = "some") -> Profile:
    (found, *_) = look(
        sample("\n".join([f"{name},x", *(f"{value},1" for value in values)]).encode()), None
    ).profiles
    return found


def inferred(taken: Sample, **wanted: Any) -> Guess:
    def ask(question: str, answers: Any, default: str) -> str:
        return default

    return guess(taken, f"https://example.com/{taken.name}", Wanted("some", **wanted), ask)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "0"], "int64"),
        (["1", ""], "int64"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808"], "numeric"),
        (["1" * 30], "string"),
        (["01234", "1"], "string"),
        (["+4930123"], "string"),
        (["-0"], "float64"),
        (["1.5", "2"], "float64"),
        (["1e3"], "float64"),
        (["0.123456789012345"], "float64"),
        (["123456789012.345678901"], "numeric"),
        (["nan", "1.5"], "float64"),
        (["nan"], "string"),
        (["NA", "1"], "string"),
        (["true", "False"], "bool"),
        (["true", "yes"], "string"),
        (["1", "0"], "int64"),
        (["2024-01-05"], "date"),
        (["2024-01-05", "2024-01-05 10:00"], "datetime"),
        (["2024-01-05T10:00:00.5"], "datetime"),
        (["2024-01-05T10:00:00Z", "2024-01-05 10:00:00+02:00"], "timestamp"),
        (["2024-01-05T10:00:00Z", "2024-01-05T10:00:00"], "string"),
        (["2024-02-31"], "string"),
        (["01/31/2024"], "string"),
        (["20240105"], "int64"),
        (["", ""], "string"),
        (["10:30"], "string"),
    ],
)
def test_the_type_is_the_narrowest_in_which_every_value_is_exact(values: list[str], kind: str) -> None:
    assert profile(*values).type == kind


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("fare_amount", ["1.50", "2.00"], "numeric"),
        ("Total", ["1.5", "2"], "numeric"),
        ("unitPrice", ["0.99"], "numeric"),
        ("price", ["1", "2"], "int64"),
        ("price", ["1.005"], "float64"),
        ("distance", ["1.50", "2.00"], "float64"),
        ("discount_rate_pricey", ["1.50"], "numeric"),
        ("subtotals", ["1.50"], "float64"),
    ],
)
def test_money_is_numeric_by_its_name_and_its_cents(name: str, values: list[str], kind: str) -> None:
    assert profile(*values, name=name).type == kind


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Start Date", "start_date"),
        ("startDate", "start_date"),
        ("VendorID", "vendor_id"),
        ("PULocationID", "pu_location_id"),
        ("Größe (m²)", "grosse_m2"),
        ("2nd", "_2nd"),
        ("日本", "column_3"),
        ("", "column_3"),
        ("xmin", "xmin_"),
        ("_PARTITIONTIME", "partitiontime"),
        ("taken", "taken_2"),
        ("x" * 90, "x" * 60),
    ],
)
def test_names_become_legal(given: str, name: str) -> None:
    assert legal(given, 3, {"taken"}) == name


def test_an_alias_is_written_where_the_name_has_changed_by_more_than_its_case() -> None:
    assert snake("TIME") == "time"
    assert column_for(profile("1", name="TIME"), 1, []).aliases == ()
    assert column_for(profile("1", name=" Start Date "), 1, []).aliases == ("Start Date",)


def test_a_column_that_is_empty_somewhere_is_not_required_and_says_so() -> None:
    found = profile("1", "", "3")
    column = column_for(found, 1, [])
    assert not column.required
    assert list(remarks(found, column)) == ["1 to 3", "empty in 1 of 3 rows"]


def test_a_number_with_a_word_for_nothing_stays_text_and_tells_the_codes() -> None:
    found = profile("1", "NA", "3")
    assert 'codes={"na": None}' in "; ".join(remarks(found, column_for(found, 1, [])))


def test_a_number_with_a_stray_word_tells_the_word() -> None:
    found = profile("12", "3", "4", "many")
    said = list(remarks(found, column_for(found, 1, [])))
    assert said[1].startswith("numbers but for 'many': if it is one, give its type (--type some=numeric)")


def test_decimals_after_a_comma_are_text_and_tell_the_number() -> None:
    made = inferred(sample(b"id;price;people\n1;1,50;1,500\n2;12,5;12,000\n", delimiter=";"))
    assert made.notes[0].endswith("a number is SAFE_CAST(REPLACE(price, ',', '.') AS NUMERIC).")
    assert not any("people" in note for note in made.notes), "a comma of thousands is none of decimals"


def test_a_number_that_is_text_is_said_in_the_terminal_too() -> None:
    made = inferred(sample(b"id,price\n1,2.50\n2,gratis\n3,1.25\n4,0.99\n"))
    assert any("price is text: numbers but for 'gratis'" in note for note in made.notes)


def test_columns_that_cannot_be_told_apart_are_left_out() -> None:
    made = inferred(sample(b"a,b,A\n1,2,3\n"))
    assert [column.name for column in made.dataset.columns] == ["b"]
    assert made.comments[""] == [
        "Left out: a (several columns are called so), A (several columns are called so)."
    ]


def test_text_of_json_stays_text_but_dates_are_dates() -> None:
    line = {"zip": "10115", "at": "2024-01-05T10:00:00Z", "n": 5, "x": 1.5, "ok": True, "tags": ["a"]}
    made = inferred(sample(json.dumps(line).encode(), "jsonl"))
    assert {column.name: column.type for column in made.dataset.columns} == {
        "zip": "string", "at": "timestamp", "n": "int64", "x": "float64", "ok": "bool", "tags": "string",
    }  # fmt: skip


def test_a_file_of_many_fields_is_looked_at_whole() -> None:
    line = {f"f{number}": number for number in range(130)}
    made = inferred(sample(json.dumps(line).encode(), "jsonl"))
    assert [column.name for column in made.dataset.columns] == list(line)


def test_types_that_a_parquet_file_declares_are_kept_and_others_left_out() -> None:
    table = pa.table({
        "small": pa.array([1], pa.int8()), "id": pa.array([1]), "big": pa.array([2**63], pa.uint64()),
        "price": pa.array([Decimal("1.50")], pa.decimal128(10, 2)), "text": pa.array(["2"]),
        "day": pa.array([dt.date(2024, 1, 5)]), "at": pa.array([0], pa.timestamp("ns")),
        "instant": pa.array([0], pa.timestamp("ms", "Europe/Berlin")), "list": pa.array([[1]]),
        "dictionary": pa.array(["a"]).dictionary_encode(), "x": pa.array([1.5], pa.float32()),
    })  # fmt: skip
    file = io.BytesIO()
    pq.write_table(table, file)
    made = inferred(sample(file.getvalue(), "parquet"))
    assert {column.name: column.type for column in made.dataset.columns} == {
        "small": "int16", "id": "int64", "big": "numeric", "price": "numeric", "text": "string",
        "day": "date", "at": "datetime", "instant": "timestamp", "dictionary": "string", "x": "float64",
    }  # fmt: skip
    assert made.comments[""] == ["Left out: list (list<element: int64>)."]


def test_bytes_that_are_no_text_are_counted_and_not_read() -> None:
    made = inferred(sample("id,name\n1,Köln\n2,Bonn\n".encode("latin-1")))
    assert [column.type for column in made.dataset.columns] == ["int64", "string"]
    assert "For quarantine: 1; the first: name K" in made.about[0]


def test_the_line_that_a_beginning_ends_with_does_not_count() -> None:
    made = inferred(sample(b'id,name\n1,a\n2,"b\n', whole=False))
    assert [column.type for column in made.dataset.columns] == ["int64", "string"]


# Every typed table

_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).map(str.strip)
_DAYS = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))
_MOMENTS = st.datetimes()
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "numeric": st.decimals(-(10**28), 10**28, places=9, allow_nan=False),
    "string": _TEXT,
    "bool": st.booleans(),
    "date": _DAYS,
    "datetime": _MOMENTS,
    "timestamp": _MOMENTS.map(lambda moment: moment.replace(tzinfo=dt.UTC)),
}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Columns of typed values, some missing; the first has them all, so that no line is blank."""
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    count = draw(st.integers(1, 6))
    columns = {"row": list(range(count))}
    for number, kind in enumerate(kinds):
        value = st.one_of(VALUES[kind], st.none())
        columns[f"{kind}_{number}"] = draw(st.lists(value, min_size=count, max_size=count))
    return columns


def spelled(value: Any) -> str:
    """A value as programs write it into text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return repr(value)
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def as_csv(columns: dict[str, list[Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if value is None else spelled(value) for value in row])
    return file.getvalue().encode()


def as_jsonl(columns: dict[str, list[Any]]) -> bytes:
    def item(value: Any) -> str:
        if value is None or isinstance(value, bool | str):
            return json.dumps(value)
        infinite = isinstance(value, float) and math.isinf(value)
        return (
            spelled(value)
            if isinstance(value, int | float | Decimal) and not infinite
            else f'"{spelled(value)}"'
        )

    rows = zip(*columns.values(), strict=True)
    lines = (", ".join(f'"{name}": {item(v)}' for name, v in zip(columns, row, strict=True)) for row in rows)
    return "\n".join(f"{{{line}}}" for line in lines).encode()


def as_parquet(columns: dict[str, list[Any]]) -> bytes:
    file = io.BytesIO()
    types = {name: ARROW.get(name.rpartition("_")[0], pa.int64()) for name in columns}  # type: ignore[call-overload]
    pq.write_table(pa.table({name: pa.array(values, types[name]) for name, values in columns.items()}), file)
    return file.getvalue()


def same(found: Any, given: Any) -> bool:
    """Whether a typed value is what was given; a text that reads like a number or a time may be one."""
    if isinstance(given, str) and not isinstance(found, str):
        text = given.strip()
        if isinstance(found, bool):
            return text.lower() == str(found).lower()
        if isinstance(found, int | Decimal):
            return Decimal(text) == found
        if isinstance(found, float):
            return float(text) == found or math.isnan(found)
        return dt.datetime.fromisoformat(text) == (
            found if isinstance(found, dt.datetime) else dt.datetime.combine(found, dt.time())
        )
    if isinstance(found, str) and not isinstance(given, str):
        return found == spelled(given)
    if isinstance(found, dt.datetime) and isinstance(given, dt.datetime):
        return found.replace(tzinfo=None) == given.replace(tzinfo=None)
    if isinstance(found, float | Decimal) and isinstance(given, float | Decimal):
        # A double is what it is written like: of all doubles the nearest to that.
        return Decimal(str(found)) == Decimal(str(given))
    return bool(found == given)


def test_numbers_of_json_that_are_parsed_ahead_are_looked_at_like_those_before_them() -> None:
    # The last line, without an end, is a block of its own; the first has shown what its numbers are.
    columns = {"row": [0, 1], "code": [None, None]}
    dataset = inferred(sample(as_jsonl(columns), "jsonl")).dataset
    found = {column.name: column.type for column in dataset.columns}
    assert found == {"row": "int64", "code": "string"}


@pytest.mark.parametrize(("form", "write"), [("csv", as_csv), ("jsonl", as_jsonl), ("parquet", as_parquet)])
@given(columns=tables())
@settings(max_examples=40, deadline=None)
def test_of_every_typed_table_all_rows_fit_with_their_values(form: Format, write: Any, columns: Any) -> None:
    taken = sample(write(columns), form)
    dataset = inferred(taken).dataset
    taken.content.seek(0)
    with Split(taken.content, dataset, None) as parts:
        typed = pa.Table.from_batches([part.typed for part in parts])
    assert (parts.quarantined, typed.num_rows) == (0, len(columns["row"]))
    assert parts.drift == ()
    for column in dataset.columns:
        given_name = column.aliases[0] if column.aliases else column.name
        for found, value in zip(typed[column.name].to_pylist(), columns[given_name], strict=True):
            assert (found is None) == (value is None or value == ""), (column, value)
            assert value in (None, "") or same(found, value), (column, found, value)
