"""Small files that other programs, and once this one, read wrongly: what is right of each."""

import datetime as dt
import io
from pathlib import Path
from typing import Any

import pytest
from repository import REPOSITORY

from elt.catalogue import Column, Dataset
from elt.conforming.stream import Split
from elt.errors import PermanentError

CASES = REPOSITORY / "tests" / "data" / "cases"
NOTES = (
    Column("id", "int64", "Key."),
    Column("amount", "float64", "Any.", required=False),
    Column("note", "string", "Any.", required=False),
)
# By the file's name: the columns where they are not NOTES, the typed rows, and the reasons for quarantine.
Case = tuple[tuple[Column, ...], list[tuple[Any, ...]], list[str]]


def columns(**kinds: Any) -> tuple[Column, ...]:
    return tuple(Column(name, kind, "Any.", required=name == "id") for name, kind in kinds.items())


moment = dt.datetime.fromisoformat
RIGHT: dict[str, Case] = {
    # DuckDB and sling: a backslash escapes nothing (RFC 4180).
    "csv-backslash-quotes.csv": (NOTES, [], ["the line is not CSV: a quote ends inside the value"]),
    "csv-cut-inside-quotes.csv": (
        NOTES, [(1, 2.0, "ok")], ["the line is not CSV: unexpected end of data"]
    ),
    "csv-hex.csv": (
        columns(id="int16", amount="float64"), [], ["id 0xFFFF is not int16", "id 0x10 is not int16"]
    ),
    "csv-neighbours.csv": (
        NOTES,
        [(1, 2.0, "a\n3,4,b")],
        ["the line is not CSV: a carriage return without a line feed; lines must end with LF or CRLF"],
    ),
    "csv-newline-invents-a-row.csv": (
        NOTES, [(1, 2.0, "first line\n99,9,second line"), (2, 3.0, "c")], []
    ),
    "csv-reason-column.csv": (NOTES, [(2, 1.0, None)], ["id x is not int64"]),
    # The nearest doubles, which Arrow's own cast misses.
    "decimal-to-float.parquet": (NOTES, [(1, 19.99, None), (2, 8.29, None), (3, 71.82, None)], []),
    "json-deep-nesting.jsonl": (
        NOTES, [(1, 1.0, "ok")], ["the line is not a JSON object: Recursion limit reached"]
    ),
    "json-duplicate-keys.jsonl": (
        NOTES, [(7, 1.0, None)], ["the line is not a JSON object: it has id twice"] * 2
    ),
    "parquet-binary-time.parquet": (columns(id="int64", t="datetime"), [(1, moment("2024-01-01"))], []),
    # A group without columns stands before them: found by position, each would be its neighbour.
    "parquet-empty-group.parquet": (
        columns(id="int64", fare="float64", tip="float64"), [(1, 10.0, 2.0), (2, 20.0, 3.0)], []
    ),
    "parquet-int96.parquet": (
        columns(id="int64", t="datetime", d="date"),
        [
            (1, moment("9999-12-31"), dt.date(2024, 1, 1)),
            (2, moment("2024-01-01"), dt.date(1000, 1, 1)),
        ],
        [],
    ),
    "parquet-nan-text.parquet": (columns(id="string"), [("1",)], ["id nan is missing"]),
    "parquet-nested-in-quarantine.parquet": (NOTES, [(1, 1.0, None)], ["id (null) is missing"]),
    "parquet-string-view.parquet": (NOTES, [(1, 1.5, "a")], []),
    "parquet-time-to-date.parquet": (
        columns(id="int64", d="date"), [], ["d 2024-01-01 12:34:56.000000 is not date"]
    ),
    "parquet-wild-date32.parquet": (
        columns(id="int64", d="date"),
        [(1, dt.date(2024, 1, 1))],
        ["d <value out of range: -2147483648> is not date"],
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[tuple[Column, ...], str]] = {
    "csv-no-row-fits.csv": (
        columns(id="int64", at="datetime"),
        "no row fits (100 rows, all for quarantine). The first: at 02/01/2024 10:00:00 AM is not datetime",
    ),
    "gz-truncated-replaces-raw.csv.gz": (
        columns(id="int64", at="datetime"),
        "corrupt CSV (Compressed file ended",
    ),
    "json-array-of-lines.jsonl": (
        NOTES,
        "corrupt JSON lines (a JSON array instead of an object on each line)",
    ),
    "parquet-bad-checksum.parquet": (NOTES, "corrupt Parquet (could not verify page integrity, CRC checksum"),
}  # fmt: skip


def split(path: Path, known: tuple[Column, ...]) -> Split:
    name = f"own.{path.name.split('.', 1)[1]}"
    ds = Dataset("own", "Own", f"/{name}", "own", "id", known)
    return Split(io.BytesIO(path.read_bytes()), ds, None)


def test_every_case_is_judged() -> None:
    assert {path.name for path in CASES.iterdir()} == {*RIGHT, *REFUSED}


@pytest.mark.parametrize("name", RIGHT)
def test_a_value_is_what_the_file_says_or_its_row_is_in_quarantine(name: str) -> None:
    known, rows, reasons = RIGHT[name]
    with split(CASES / name, known) as parts:
        found = list(parts)
    assert [tuple(row.values()) for part in found for row in part.typed.to_pylist()] == rows
    assert [
        row["reason"] for part in found if part.quarantined for row in part.quarantined.to_pylist()
    ] == reasons


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_told_is_refused_in_a_sentence_that_says_why(name: str) -> None:
    known, reason = REFUSED[name]
    with pytest.raises(PermanentError) as refusal, split(CASES / name, known) as parts:
        list(parts)
        parts.refuse_if_empty()
    assert reason in str(refusal.value)
    assert str(refusal.value).count("\n") < 3
