"""The key, the partition and the address of an entry: guessed where a file shows them, else asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from elt.catalogue import STANDARD_AUDITS, Publisher
from elt.catalogue.model import Format
from elt.errors import InvalidDatasetError
from elt.periods import Day, Hour, Month, Period, Year
from taxiway.entries.guess import Guess, Wanted, guess
from taxiway.entries.sample import Sample
from taxiway.errors import TaxiwayError, UsageError

MONTH = "https://example.com/bikes_2024-01.csv"
ROWS = """id,begun,ended,born
1,2024-01-01 08:00:00,2024-01-01 08:30:00,1980-01-01 00:00:00
2,2024-01-31 23:50:00,2024-02-01 00:10:00,1990-01-01 00:00:00
"""


class Asked:
    """A user who takes every default, and remembers what was asked."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, list[str]]] = []

    def __call__(self, question: str, answers: Sequence[str], default: str) -> str:
        self.questions.append((question, list(answers)))
        return default


def made(
    text: str = ROWS, address: str = MONTH, form: Format = "csv", asked: Asked | None = None, **wanted: object
) -> Guess:
    taken = Sample(address.rpartition("/")[2], form, ",", io.BytesIO(text.encode()), whole=True)
    return guess(taken, address, Wanted("bikes", **wanted), asked or Asked())  # type: ignore[arg-type]


def test_the_key_is_the_time_that_lies_in_the_files_month() -> None:
    asked = Asked()
    found = made(asked=asked)
    assert asked.questions == []
    assert (found.dataset.key, found.dataset.path) == (
        "begun",
        "https://example.com/bikes_{year}-{month}.csv",
    )
    assert (found.dataset.first, found.period) == (Month(2024, 1), Month(2024, 1))
    assert found.dataset.audits == STANDARD_AUDITS
    assert found.comments["key"] == ["2 of 2 rows are of 2024-01 by it."]
    assert found.about == ["Inferred by scripts/new from bikes_2024-01.csv: 2 rows. All of them fit."]


def test_of_two_times_that_are_as_good_the_user_says_which() -> None:
    asked = Asked()
    found = made(ROWS.replace("2024-02-01", "2024-01-31"), asked=asked)
    assert asked.questions == [("Which column says which month a row is of?", ["begun", "ended"])]
    assert found.dataset.key == "begun"


def test_where_no_time_lies_in_the_month_the_user_says_which() -> None:
    asked = Asked()
    found = made(address=MONTH.replace("2024", "2019"), asked=asked)
    assert [answers for _, answers in asked.questions] == [["begun", "ended", "born"]]
    assert "For quarantine: 2; the first: begun 2024-01-01 08:00:00 is outside 2019-01" in found.about[0]


def test_a_key_that_is_named_is_not_asked_for() -> None:
    asked = Asked()
    assert made(asked=asked, key="ended").dataset.key == "ended"
    assert asked.questions == []


@pytest.mark.parametrize(
    ("name", "period", "template", "kind"),
    [
        ("b_2024.csv", Year(2024), "b_{year}.csv", "date"),
        ("b_2024-01.csv", Month(2024, 1), "b_{year}-{month}.csv", "date"),
        ("b_2024-01-05.csv", Day(2024, 1, 5), "b_{year}-{month}-{day}.csv", "date"),
        ("b_2024-01-05T00.csv", Hour(2024, 1, 5, 0), "b_{year}-{month}-{day}T{hour}.csv", "datetime"),
    ],
)
def test_every_period_may_have_a_file(name: str, period: Period, template: str, kind: str) -> None:
    found = made("nr,day\n1,2024-01-05\n2,2024-01-05\n", f"https://example.com/{name}")
    assert (found.period, found.dataset.first, found.dataset.key) == (period, period, "day")
    assert found.dataset.path == f"https://example.com/{template}"
    assert found.dataset.columns[1].type == kind
    assert found.about[0].endswith("All of them fit.")


def test_a_file_without_times_is_one_file() -> None:
    found = made("nr,name\n1,a\n2,b\n")
    assert (found.dataset.first, found.dataset.path, found.period) == (None, MONTH, None)
    assert found.notes == ["No column says which month a row is of: this is one file, not a series."]


@pytest.mark.parametrize(
    ("text", "key", "audits"),
    [
        ("name,station_id\na,1\nb,2\n", "station_id", "key_unique"),
        ("name,n\na,1\nb,1\n", "name", "key_unique"),
        ("name,n\na,1\na,1\n", "name", "key_present"),
        ("name,n\n,1\na,1\n", "n", "key_present"),
    ],
)
def test_the_key_of_one_file_tells_rows_apart_or_is_never_missing(text: str, key: str, audits: str) -> None:
    found = made(text, "https://example.com/stations.csv").dataset
    assert (found.key, found.audits[-1].name) == (key, audits)


def test_a_series_may_be_taken_for_one_file() -> None:
    found = made(every="none").dataset
    assert (found.first, found.path, found.key) == (None, MONTH, "id")


def test_types_may_be_given_by_the_name_of_the_file_or_of_the_entry() -> None:
    found = made(
        "Zip Code,n\n10115,1\n", "https://example.com/a.csv", types={"zip_code": "string", "N": "int16"}
    )
    assert [column.type for column in found.dataset.columns] == ["string", "int16"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"types": {"nothing": "int64"}}, "nothing is no column"),
        ({"types": {"id": "money"}}, "names the type 'money'"),
        ({"key": "nothing"}, "--key nothing is no column"),
        ({"key": "id"}, "--key id is a int64, which does not say when"),
        ({"every": "day"}, "has no day in it"),
    ],
)
def test_wishes_that_the_file_contradicts_are_refused(wanted: dict[str, object], said: str) -> None:
    with pytest.raises((UsageError, InvalidDatasetError), match=said):
        made(**wanted)


def test_a_file_without_rows_is_refused() -> None:
    with pytest.raises(TaxiwayError, match="has no rows"):
        made("id,begun\n")


def test_an_address_that_ends_in_no_file_name_gets_one_for_the_lake() -> None:
    found = made(address="https://example.com/export?month=2024-01&all=1").dataset
    assert (found.path, found.file, found.format) == (
        "https://example.com/export?month={year}-{month}&all=1", "bikes_{year}-{month}.csv", None,
    )  # fmt: skip
    assert made(address="https://example.com/2024-01/bikes.csv").dataset.file == "bikes_{year}-{month}.csv"


def test_a_connection_takes_the_host_out_of_the_path() -> None:
    found = made(connection="bikes_source").dataset
    assert (found.path, found.source) == (
        "/bikes_{year}-{month}.csv", Publisher("bikes_source", "https://example.com"),
    )  # fmt: skip


def test_a_file_that_is_no_table_is_kept_as_it_is() -> None:
    found = made("", "https://example.com/plan_2024-01.pdf", "any").dataset
    assert (found.columns, found.table, found.path) == ((), "", "https://example.com/plan_{year}-{month}.pdf")
    assert made("", "https://example.com/plan.zip", "any").dataset.first is None
