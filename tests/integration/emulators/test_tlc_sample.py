"""The sample source as a process: TLC's paths, and what its content delivery network answers."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from emulators import Emulators, Service

pytestmark = pytest.mark.emulators
YELLOW = "/trip-data/yellow_tripdata_2024-01.parquet"
ZONES = "/misc/taxi_zone_lookup.csv"


@pytest.fixture
def source(emulators: Emulators) -> str:
    """The URL of the shared source."""
    return emulators.source_url


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A second source with the same rows, and no cache."""
    folder = tmp_path_factory.mktemp("source")
    options = ("--rows", "2000", "--first", "2024-01", "--last", "2024-03")
    with Service("tlc_sample", folder, options) as running:
        yield running.wait_until_healthy()


def test_a_month_is_the_same_bytes_from_every_source(source: str, another: Service) -> None:
    one, other = (requests.get(url + YELLOW) for url in (source, another.url))
    assert one.content == other.content
    assert one.headers["ETag"] == other.headers["ETag"]
    assert one.headers["Last-Modified"] == other.headers["Last-Modified"] == "Fri, 01 Mar 2024 06:00:00 GMT"
    assert requests.get(source + YELLOW).content == one.content


def test_two_months_are_different_bytes(source: str) -> None:
    months = ("2024-01", "2024-02")
    files = [requests.get(f"{source}/trip-data/yellow_tripdata_{month}.parquet").content for month in months]
    assert len({hashlib.sha256(file).digest() for file in files}) == 2


def test_a_head_tells_what_a_get_would_bring(source: str) -> None:
    head, get = requests.head(source + YELLOW), requests.get(source + YELLOW)
    for name in ("Content-Length", "ETag", "Last-Modified", "Content-Type", "Accept-Ranges"):
        assert head.headers[name] == get.headers[name]
    assert (head.content, int(head.headers["Content-Length"])) == (b"", len(get.content))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [("bytes=0-3", slice(0, 4)), ("bytes=-4", slice(-4, None)), ("bytes=100-", slice(100, None))],
)
def test_a_part_of_a_file_can_be_had(source: str, asked: str, wanted: slice) -> None:
    whole = requests.get(source + YELLOW).content
    part = requests.get(source + YELLOW, headers={"Range": asked})
    assert (part.status_code, part.content) == (206, whole[wanted])
    start = range(len(whole))[wanted].start
    assert part.headers["Content-Range"] == f"bytes {start}-{start + len(part.content) - 1}/{len(whole)}"


def test_a_part_past_the_end_is_refused(source: str) -> None:
    refused = requests.get(source + YELLOW, headers={"Range": "bytes=99999999-"})
    assert refused.status_code == 416


def test_what_one_has_already_is_not_sent_again(source: str) -> None:
    etag = requests.head(source + YELLOW).headers["ETag"]
    again = requests.get(source + YELLOW, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


def test_the_zones_are_tlcs_265(source: str) -> None:
    lines = requests.get(source + ZONES).text.splitlines()
    assert lines[0] == '"LocationID","Borough","Zone","service_zone"'
    assert len(lines) == 266


@pytest.mark.parametrize(
    "path",
    [
        "/trip-data/yellow_tripdata_2008-12.parquet",
        "/trip-data/fhvhv_tripdata_2019-01.parquet",
        "/trip-data/yellow_tripdata_2024-13.parquet",
        "/trip-data/yellow_tripdata_2024-1.parquet",
        "/trip-data/green_tripdata_2024-01.csv",
        "/trip-data/purple_tripdata_2024-01.parquet",
        "/../etc/passwd",
        "/",
    ],
)
def test_what_is_not_published_is_denied_as_tlc_denies_it(source: str, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = requests.request(method, source + path)
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/xml"
        assert ("AccessDenied" in answer.text) is (method == "GET")


def test_a_month_appears_two_months_late(source: str) -> None:
    today = datetime.now(UTC)
    for lag, status in ((2, 200), (1, 403), (-1, 403)):
        year, month = divmod(today.year * 12 + today.month - 1 - lag, 12)
        url = f"{source}/trip-data/yellow_tripdata_{year}-{month + 1:02d}.parquet"
        assert requests.head(url).status_code == status


def test_only_the_months_it_was_given_are_published(another: Service) -> None:
    for month, status in (("2023-12", 403), ("2024-01", 200), ("2024-03", 200), ("2024-04", 403)):
        url = f"{another.url}/trip-data/yellow_tripdata_{month}.parquet"
        assert requests.head(url).status_code == status


def test_a_generated_month_is_kept_whole_in_the_cache(source: str, emulators: Emulators) -> None:
    content = requests.get(source + YELLOW).content
    kept = list(Path(emulators.folder / "sample_source").glob("yellow_tripdata_2024-01.*"))
    assert [path.read_bytes() for path in kept] == [content]


def test_it_stops_when_told(tmp_path: Path) -> None:
    with Service("tlc_sample", tmp_path, ()) as running:
        running.wait_until_healthy()
        assert running.stop() == 0
