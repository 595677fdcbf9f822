"""A value is written as what it is, in every form; NULL is told apart from all of them."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxiway.asking.answers import Answer, csv_line, distinct, format_of, show, table, text, write
from taxiway.console.hints import HINTS
from taxiway.console.progress import Screen
from taxiway.errors import TaxiwayError, UsageError

ZONE = dt.timezone(dt.timedelta(hours=-5))


def answer(rows: Sequence[Sequence[Any]], *types: Any, total: int | None = None) -> Answer:
    names = "abcdefghij"[: len(types)]
    return Answer(list(names), iter(rows), lambda: types, lambda _: total)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Decimal("12345678901234567890.10"), "12345678901234567890.10"),
        (Decimal("1E-9"), "0.000000001"),
        (2**63 - 1, "9223372036854775807"),
        (0.1 + 0.2, "0.30000000000000004"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (True, "true"),
        (dt.datetime.fromisoformat("2024-01-02T03:04:05.000006"), "2024-01-02T03:04:05.000006"),
        (dt.datetime(2024, 1, 2, tzinfo=ZONE), "2024-01-02T00:00:00-05:00"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (b"\x00\xff", "AP8="),
        ([1, None, Decimal("1.50")], '[1, null, "1.50"]'),
        ({"a": {"b": "é"}}, '{"a": {"b": "é"}}'),
    ],
)
def test_a_value_is_written_without_loss(value: Any, written: str) -> None:
    assert text(value) == written


def test_csv_tells_null_from_an_empty_text_and_quotes_what_it_must() -> None:
    assert csv_line([None, "", "NULL", 'a"b', "a,b", "a\nb", 1]) == ',"",NULL,"a""b","a,b","a\nb",1\n'


def test_columns_of_one_name_are_told_apart() -> None:
    assert distinct(["a", "a", "a_1", "a"]) == ["a", "a_1", "a_1_1", "a_2"]


def test_json_has_exact_numbers_and_null(tmp_path: Path) -> None:
    rows = [(1, Decimal("0.10"), None), (2**62, Decimal(7), float("nan"))]
    file = tmp_path / "rows.json"
    assert write(answer(rows, None, None, None), "json", str(file)) == 2
    assert json.loads(file.read_text()) == [
        {"a": 1, "b": "0.10", "c": None},
        {"a": 2**62, "b": "7", "c": "NaN"},
    ]
    assert write(answer([], None), "json", str(file)) == 0
    assert json.loads(file.read_text()) == []


def test_parquet_keeps_the_types_and_its_texts_are_values_too(tmp_path: Path) -> None:
    types = pa.decimal128(38, 9), pa.timestamp("us", "UTC"), pa.string(), pa.list_(pa.int64())
    rows = [(Decimal("1.5"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), {"a": 1}, [1]), (None,) * 4]
    file = tmp_path / "rows.parquet"
    assert write(answer(rows, *types), "parquet", str(file)) == 2
    found = pq.read_table(file)
    assert tuple(found.schema.types) == types
    assert found.to_pylist()[0]["c"] == '{"a": 1}'
    assert found.to_pylist()[0]["a"] == Decimal("1.5")


def test_a_statement_without_columns_is_no_table_and_the_remedy_is_for_command_and_notebook() -> None:
    with pytest.raises(UsageError, match="no columns") as refused:
        table(Answer([], iter(()), tuple))
    assert "by a SELECT" in str(refused.value.remedy)


def test_a_value_that_parquet_cannot_hold_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    with pytest.raises(TaxiwayError, match="column a has a value that Parquet's date32"):
        write(answer([("4713-01-01 BC",)], pa.date32()), "parquet", str(file))
    assert list(tmp_path.iterdir()) == []


def test_rows_that_break_half_way_leave_the_file_that_was_there(tmp_path: Path) -> None:
    def rows() -> Any:
        yield (1,)
        raise TaxiwayError("gone")

    file = tmp_path / "rows.csv"
    file.write_text("before")
    with pytest.raises(TaxiwayError, match="gone"):
        write(Answer(["a"], rows(), tuple), "csv", str(file))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert file.read_text() == "before"


def test_a_file_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TaxiwayError, match="cannot be written: No such file"):
        write(answer([]), "csv", str(tmp_path / "nowhere" / "rows.csv"))


@pytest.mark.parametrize(
    ("form", "output", "found"),
    [(None, None, "table"), ("json", None, "json"), (None, "a.PARQUET", "parquet"), ("csv", "a.txt", "csv")],
)
def test_the_format_is_the_one_asked_for_or_the_files(
    form: str | None, output: str | None, found: str
) -> None:
    assert format_of(form, output) == found


@pytest.mark.parametrize(("form", "output"), [(None, "a.txt"), (None, "a"), ("table", "a.csv")])
def test_a_file_without_a_format_is_refused(form: str | None, output: str) -> None:
    with pytest.raises(UsageError):
        format_of(form, output)


def shown(given: Answer, limit: int = 2, **options: Any) -> str:
    screen = io.StringIO()
    show(given, Screen(file=screen, **options), limit)
    return screen.getvalue()


def test_a_table_shows_the_first_rows_and_how_many_there_are() -> None:
    rows = [(n, "x") for n in range(9)]
    lines = shown(answer(rows, None, None, total=1234), width=80).splitlines()
    assert [line.split() for line in lines if line.split()[1:] == ["x"]] == [["0", "x"], ["1", "x"]]
    assert lines[-1].startswith("the first 2 of 1,234 rows")
    assert shown(answer(rows[:2], None, None), width=80).splitlines()[-1] == "2 rows"
    assert shown(answer([], None), width=80).splitlines()[-1] == "0 rows"


def test_a_cell_is_shown_and_not_obeyed() -> None:
    found = shown(answer([("[red]\x1b[31mx",)], None), width=80, force_terminal=True)
    assert "[red]\\x1b[31mx" in found


def test_a_value_that_looks_like_a_command_of_ours_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HINTS, "stack", "alice")
    assert "scripts/up  " in shown(answer([("scripts/up",)], None), width=80)


def test_a_row_that_is_too_wide_is_shown_below_itself_or_whole_in_a_pipe() -> None:
    row = ("x" * 30, "y" * 30, None)
    below = shown(answer([row], None, None, None), width=50, force_terminal=True, color_system=None)
    assert below.splitlines()[:4] == ["row 1", f"  a  {'x' * 30}", f"  b  {'y' * 30}", "  c  NULL"]
    piped = shown(answer([row], None, None, None), width=50)
    assert f"{'x' * 30}   {'y' * 30}   NULL" in piped
