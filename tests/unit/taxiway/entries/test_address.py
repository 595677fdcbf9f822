"""What is seen in an address: the time of a file, its format, and a secret, which is refused."""

from __future__ import annotations

import pytest

from elt.periods import KINDS
from taxiway.entries.address import check_secrets, find_time, format_of
from taxiway.errors import UsageError


@pytest.mark.parametrize(
    ("address", "template", "grain", "moment"),
    [
        ("bikes_2024-01.csv", "bikes_{year}-{month}.csv", "month", (2024, 1, 1)),
        ("bikes_202401.csv", "bikes_{year}{month}.csv", "month", (2024, 1, 1)),
        ("2024_01/bikes.csv", "{year}_{month}/bikes.csv", "month", (2024, 1, 1)),
        ("bikes-2024-01-05.csv", "bikes-{year}-{month}-{day}.csv", "day", (2024, 1, 5)),
        ("20240105.csv", "{year}{month}{day}.csv", "day", (2024, 1, 5)),
        ("2024/01/05/05/b.csv", "{year}/{month}/{day}/{hour}/b.csv", "hour", (2024, 1, 5, 5)),
        ("b-2024-01-05T05.csv", "b-{year}-{month}-{day}T{hour}.csv", "hour", (2024, 1, 5, 5)),
        ("b_2024.csv", "b_{year}.csv", "year", (2024, 1, 1)),
        ("2024/2024-01/b.csv", "{year}/{year}-{month}/b.csv", "month", (2024, 1, 1)),
        ("2023/2024-01.csv", "2023/{year}-{month}.csv", "month", (2024, 1, 1)),
        (
            "year=2024/month=01/day=05/b.parquet",
            "year={year}/month={month}/day={day}/b.parquet",
            "day",
            (2024, 1, 5),
        ),
        ("export?month=2024-01&all=1", "export?month={year}-{month}&all=1", "month", (2024, 1, 1)),
        ("a_2022-12_2024-01.csv", "a_2022-12_{year}-{month}.csv", "month", (2024, 1, 1)),
    ],
)
def test_a_time_becomes_variables(address: str, template: str, grain: str, moment: tuple[int, ...]) -> None:
    found = find_time(f"https://data2020.example.com/{address}")
    assert found is not None
    assert found.template == f"https://data2020.example.com/{template}"
    assert found.period == KINDS[grain](*moment)  # type: ignore[index]


@pytest.mark.parametrize(
    "name", ["bikes.csv", "b-20245.csv", "b_1234.csv", "b_202413.csv", "12024.csv", "v2.csv"]
)
def test_other_numbers_are_no_time(name: str) -> None:
    assert find_time(f"https://example.com/{name}") is None


def test_a_coarser_time_may_be_asked_for() -> None:
    found = find_time("https://example.com/2024/b_2024-01-01.csv", "month")
    assert found is not None
    assert (found.template, found.period.grain) == (
        "https://example.com/{year}/b_{year}-{month}-01.csv",
        "month",
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@example.com/b.csv",
        "https://me@example.com/b.csv",
        "https://example.com/b.csv?token=abc",
        "https://example.com/b.csv?x=1&api_key=abc",
        "https://example.com/b.csv?X-Amz-Signature=abc",
        "https://example.com/b.csv?sig=abc&se=2024",
        "https://example.com/b.csv?access_token=abc",
    ],
)
def test_a_secret_in_an_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="no secrets") as refused:
        check_secrets(url)
    assert "abc" not in f"{refused.value} {refused.value.remedy}"
    assert "hunter2" not in f"{refused.value}"
    assert "--connection" in refused.value.remedy


def test_a_query_without_a_secret_is_taken() -> None:
    check_secrets("https://example.com/b?format=csv&month=2024-01&keyword=a&design=b")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.CSV", ("csv", "")),
        ("a.ndjson.gz", ("jsonl.gz", "")),
        ("a.tsv.gz", ("csv.gz", "\t")),
        ("a.zip", (None, "")),
    ],
)
def test_a_name_tells_the_format(name: str, found: tuple[str | None, str]) -> None:
    assert format_of(name) == found
