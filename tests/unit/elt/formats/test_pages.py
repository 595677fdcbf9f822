"""An API's pages: kept byte for byte, and the records in them as they are written."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.catalogue import Column
from elt.formats.jsonl_reader import JsonlReader
from elt.formats.pages import LONGEST_PAGE, Page, Records, framed, read_pages

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)
INDENTS = st.sampled_from([None, 0, 2, "\t"])


def raw(*pages: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join(map(framed, pages)))


def lines(file: io.BytesIO, path: str) -> list[bytes]:
    """All records, read in small pieces."""
    records, found = Records(file, path), b""
    while piece := records.read(7):
        assert len(piece) <= 7
        found += piece
    return found.splitlines()


@given(st.lists(st.tuples(st.lists(VALUES, max_size=5), INDENTS), min_size=1, max_size=4), st.booleans())
def test_the_records_are_those_of_the_pages_whatever_these_look_like(pages, deep):
    texts = [
        json.dumps({"x": [1, {"data": 2}], "data": {"items": items} if deep else items}, indent=indent)
        for items, indent in pages
    ]
    found = lines(raw(*(text.encode() for text in texts)), "data.items" if deep else "data")
    assert [json.loads(line) for line in found] == [item for items, _ in pages for item in items]


@given(st.lists(st.binary(max_size=50).filter(lambda page: b"\x1e" not in page), min_size=1, max_size=5))
def test_every_page_is_in_the_object_byte_for_byte(pages):
    texts = [json.dumps(page.decode("latin-1")).encode() for page in pages]
    file = raw(*texts)
    assert file.getvalue().split(b"\x1e")[1:] == [text + b"\n" for text in texts]
    assert [page.value("") or "" for page in read_pages(file)] == [page.decode("latin-1") for page in pages]


@given(st.text(alphabet='{}[]",:ab1 e\\ntrue.-', max_size=30))
def test_a_page_is_accepted_where_it_is_json_and_nowhere_else(text):
    try:
        json.loads(text, parse_constant=pytest.fail)
        right = True
    except (ValueError, pytest.fail.Exception):
        right = False
    try:
        Page(text.encode()).check()
    except ValueError:
        assert not right
    else:
        assert right


def test_digits_are_as_they_were_written():
    page = (
        b'{"data": [{"id": 12345678901234567890123, "fare": 1.10, "far": 1e999}], "next": 9007199254740993}'
    )
    assert lines(raw(page), "data") == [b'{"id": 12345678901234567890123, "fare": 1.10, "far": 1e999}']
    assert Page(page).value("next") == "9007199254740993"


@pytest.mark.parametrize(
    ("page", "path", "records"),
    [
        (b"[]", "", []),
        (b'[{"a": 1},{"b": 2}]', "", [b'{"a": 1}', b'{"b": 2}']),
        (b'{"a": [1]}', "", [b'{"a": [1]}']),
        (b'{"data": null}', "data", []),
        (b'\xef\xbb\xbf{"data": [3]}', "data", [b"3"]),
        (b'{"data": {"a":\r\n 1}}', "data", [b'{"a":   1}']),
    ],
)
def test_a_page_may_be_a_list_or_have_one_or_one_record(page, path, records):
    assert lines(raw(page), path) == records


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b'{"error": "no", "b": 1}', r"it has no data \(its names: error, b\)"),
        (b"[1, 2]", r"it has no data \(its names: none\)"),
        (b'{"data": "x"}', "its data is no list of records"),
        (b'{"data": [1], "data": [2]}', "it has data twice"),
        (b'{"data": [1, NaN]}', "NaN is not JSON"),
        (b'{"data": [1]} x', "no JSON after 14"),
        (b'{"data": [1', "no JSON after 11"),
        (b'{"data": [1] "b"', "no JSON after 13"),
        (b'{"data": "\xff"}', "utf-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_no_page_of_records_is_refused_with_the_reason(page, reason):
    with pytest.raises(ValueError, match=reason):
        lines(raw(page), "data")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no page"),
        (b"{}", "no page"),
        (b"x\x1e{}\n", "does not begin with a page"),
        (framed(b"[]") + b"\x1e[1", "ends within a page"),
        (b"\x1e" + b" " * (LONGEST_PAGE + 2**21), "a page of more than"),
    ],
)
def test_a_damaged_object_is_refused(content, reason):
    with pytest.raises(ValueError, match=reason):
        lines(io.BytesIO(content), "")


def test_a_control_character_is_in_no_page():
    with pytest.raises(ValueError, match="control character"):
        Page(b'"\x1e"')


COLUMNS = [
    Column("station", "int32", "Number.", aliases=("station.id",)),
    Column("city", "string", "Where.", aliases=("station.place.city",)),
    Column("place", "string", "All of it.", aliases=("station.place",)),
    Column("tags", "string", "Some."),
]


def test_members_of_an_object_within_the_record_are_columns_where_the_catalogue_names_them():
    """Others are text as it was written, or unknown by their whole name."""
    text = b'{"station": {"ID": 7, "place": {"city": "X", "zip": 1.10}, "new": 1}, "tags": [1.10, 2]}'
    reader = JsonlReader(io.BytesIO(text + b"\n"), COLUMNS)
    [batch] = list(reader)
    [row] = batch.to_pylist()
    place = '{"city": "X", "zip": 1.10}'
    assert {name: row[name] for name in ("station", "city", "place", "tags")} == {
        "station": "7", "city": "X", "place": place, "tags": "[1.10, 2]",
    }  # fmt: skip
    assert reader.unknown == ("station.place.zip", "station.new")


def test_a_member_given_twice_is_quarantined():
    reader = JsonlReader(io.BytesIO(b'{"station": {"id": 1, "ID": 2}}\n'), COLUMNS)
    [batch] = list(reader)
    assert "it has station twice" in batch.reasons[0]
