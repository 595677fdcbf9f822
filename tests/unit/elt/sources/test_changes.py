"""Which months a scan of the source asks for, and what it makes of the answers. No I/O."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from elt.catalogue import Api, Dataset
from elt.catalogue.registry import DATASETS
from elt.errors import InvalidDatasetError, PermanentError, SourceNotPublishedError, TransientError
from elt.periods import Month
from elt.sources.changes import PATIENCE, Scan, given_up, is_over, is_unchanged, scan
from elt.sources.client import Published
from elt.stores.gcs import Stored

YELLOW, ZONES = DATASETS["yellow"], DATASETS["zones"]
BASE = "https://example.com"
DATE = "Wed, 20 Mar 2024 06:00:00 GMT"


def published(month: object, etag: str | None = '"one"') -> Published:
    return Published(f"{BASE}/{month}", etag, DATE, 100)


def stored(month: object, /, **facts: str) -> Stored:
    """A raw object as `download` leaves it."""
    known = {"source": BASE, "source_url": f"{BASE}/{month}", "source_etag": '"one"'}
    known |= {"source_last_modified": DATE, "checksum": "c0ffee", "month": str(month or "")}
    return Stored(f"raw/x/{month}", 100, 1, {**known, **facts})


@dataclass
class FakeSource:
    """Publishes what it is given, and keeps what it is asked for. An exception is raised, not returned."""

    files: dict[Month | None, Published | Exception] = field(default_factory=dict)
    probed: list[Month | None] = field(default_factory=list)
    base_url: str = BASE

    def probe(self, month: Month | None) -> Published | None:
        self.probed.append(month)
        answer = self.files.get(month)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class FakeLake:
    """Holds raw objects of one dataset."""

    objects: list[Stored]

    def list(self, prefix: str) -> Iterator[Stored]:
        assert prefix.startswith("raw/")
        yield from self.objects


def months(*texts: str) -> list[Month]:
    return [Month.parse(text) for text in texts]


JANUARY, FEBRUARY, MARCH, APRIL = months("2024-01", "2024-02", "2024-03", "2024-04")


def scanned(source: FakeSource, *objects: Stored, ds: Dataset = YELLOW, **how: object) -> Scan:
    return scan(ds, source, FakeLake(list(objects)), **how)  # type: ignore[arg-type]


def test_each_stored_month_is_asked_for_once_in_order_and_a_new_etag_is_a_change():
    source = FakeSource({JANUARY: published(JANUARY), FEBRUARY: published(FEBRUARY, '"two"')})
    found = scanned(source, stored(FEBRUARY), stored(JANUARY))
    assert found == Scan(2, (FEBRUARY,), {})
    assert source.probed == [JANUARY, FEBRUARY]


def test_only_the_named_months_that_are_stored_are_asked_for():
    source = FakeSource()
    assert scanned(source, stored(JANUARY), stored(FEBRUARY), among=[FEBRUARY, MARCH]).checked == 1
    assert source.probed == [FEBRUARY]


def test_a_withdrawn_month_is_neither_loaded_nor_failed():
    assert scanned(FakeSource(), stored(JANUARY)) == Scan(1, (), {})


def test_a_late_month_that_is_stored_already_is_asked_for_once_and_not_loaded_again():
    """2024-03 and 2024-04 were given up; the first has been loaded by hand since."""
    source = FakeSource({MARCH: published(MARCH), APRIL: published(APRIL)})
    since = dt.date(2024, 5, 1)
    found = scanned(source, stored(MARCH), scheduled_since=since)
    assert found.to_load == (APRIL,)
    assert source.probed.count(MARCH) == 1
    assert source.probed[:2] == [MARCH, APRIL]


def test_without_a_schedule_nobody_asks_for_months_that_are_not_stored():
    source = FakeSource({APRIL: published(APRIL)})
    assert scanned(source) == Scan(0, (), {})
    assert source.probed == []


@pytest.mark.parametrize(
    "error", [PermanentError("an HTML page instead of the file"), InvalidDatasetError("its path is no URL")]
)
def test_a_month_that_cannot_be_asked_for_is_named_and_the_scan_goes_on(error: Exception):
    source = FakeSource({JANUARY: error, FEBRUARY: published(FEBRUARY, '"two"')})
    found = scanned(source, stored(JANUARY), stored(FEBRUARY))
    assert found == Scan(2, (FEBRUARY,), {"yellow 2024-01": str(error)})


@pytest.mark.parametrize(
    ("month", "reason"),
    [
        ("2008-12", "yellow begins with 2009-01"),
        ("garbage", "period 'garbage' is malformed"),
        ("", "yellow is published by month"),
    ],
)
def test_an_object_that_is_none_of_the_datasets_is_named_and_the_scan_goes_on(month: str, reason: str):
    """Of an entry that now begins later, or put there by hand."""
    source = FakeSource({FEBRUARY: published(FEBRUARY, '"two"')})
    found = scanned(source, stored("odd", month=month), stored(FEBRUARY))
    assert (found.checked, found.to_load) == (1, (FEBRUARY,))
    assert list(found.failed) == ["raw/x/odd"]
    assert reason in found.failed["raw/x/odd"]


@pytest.mark.parametrize("error", [TransientError("503"), SourceNotPublishedError("late")])
def test_a_source_that_does_not_answer_ends_the_scan(error: Exception):
    with pytest.raises(type(error)):
        scanned(FakeSource({JANUARY: error}), stored(JANUARY))


def test_a_month_that_the_source_does_not_answer_for_never_stops_the_others():
    source = FakeSource({JANUARY: TransientError("503"), FEBRUARY: published(FEBRUARY, '"two"')})
    found = scanned(source, stored(JANUARY), stored(FEBRUARY))
    assert found == Scan(2, (FEBRUARY,), {"yellow 2024-01": "503"})


def test_a_source_that_is_down_is_not_waited_for_month_by_month():
    """Each request would take a minute, for 200 months."""
    down = TransientError("down")
    every = months(*(f"2023-{number:02}" for number in range(1, 13)))
    source = FakeSource(dict.fromkeys(every[1:], down) | {every[0]: published(every[0])})
    with pytest.raises(TransientError, match="down"):
        scanned(source, *map(stored, every))
    assert len(source.probed) == 4


@pytest.mark.parametrize("facts", [{"month": ""}, {}])
def test_a_dataset_without_months_is_one_that_is_called_none(facts: dict[str, str]):
    here = stored(None, **facts)
    if not facts:
        here = replace(here, metadata={key: text for key, text in here.metadata.items() if key != "month"})
    assert scanned(FakeSource({None: published(None)}), here, ds=ZONES) == Scan(1, (), {})
    assert scanned(FakeSource({None: published(None, '"two"')}), here, ds=ZONES).to_load == (None,)
    failed = scanned(FakeSource({None: PermanentError("HTML")}), here, ds=ZONES).failed
    assert failed == {"zones": "HTML"}


def test_a_dataset_that_begins_after_the_schedule_is_checked_like_any_other():
    """A new dataset in an old environment: its schedule began years before its first month."""
    bikes = replace(YELLOW, name="bikes", first=MARCH)
    source = FakeSource({MARCH: published(MARCH)})
    found = scanned(source, ds=bikes, scheduled_since=dt.date(2020, 1, 1))
    assert found.to_load == (MARCH,)
    assert source.probed[0] == MARCH


WITHOUT_ETAG = {"source_etag": ""}


@pytest.mark.parametrize(
    ("facts", "now", "same"),
    [
        ({}, published(JANUARY), True),
        ({}, published(JANUARY, '"two"'), False),
        ({"checksum": ""}, published(JANUARY), False),
        # Where the source gives no ETag: date, size and address together.
        (WITHOUT_ETAG, published(JANUARY, None), True),
        (WITHOUT_ETAG, replace(published(JANUARY, None), size=101), False),
        (WITHOUT_ETAG, replace(published(JANUARY, None), size=None), False),
        (WITHOUT_ETAG, replace(published(JANUARY, None), url=f"{BASE}/elsewhere"), False),
        (WITHOUT_ETAG, replace(published(JANUARY, None), last_modified="Thu, 21 Mar 2024"), False),
        ({**WITHOUT_ETAG, "source_last_modified": ""}, published(JANUARY, None), False),
        (
            {**WITHOUT_ETAG, "source_last_modified": ""},
            replace(published(JANUARY, None), last_modified=None),
            False,
        ),
    ],
)
def test_unchanged_is_what_nothing_speaks_against(facts: dict[str, str], now: Published, same: bool):
    assert is_unchanged(stored(JANUARY, **facts), now, BASE) is same


def test_a_file_of_another_source_is_never_the_same():
    """The rows of a sample do not pass for those of the publisher, whatever its ETag."""
    assert not is_unchanged(stored(JANUARY), published(JANUARY), "https://example.org")


@pytest.mark.parametrize("user", ["", "ali:secret@"])
def test_an_object_of_an_older_version_is_of_the_host_it_came_from(user: str):
    old = stored(JANUARY, source="", source_url=f"https://{user}example.com/{JANUARY}")
    assert is_unchanged(old, published(JANUARY), BASE)


DUE = dt.date(2026, 3, 1)  # the day on which 2026-01 is expected, two months later
THREE_WEEKS_LATER = dt.date(2026, 3, 22)
MONTH = "2026-01"


def waited_out(since: dt.date, today: dt.date, first: Month | None = None) -> list[str]:
    entry = replace(YELLOW, first=first) if first else YELLOW
    now = dt.datetime.combine(today, dt.time(), dt.UTC)
    return [str(month) for month in given_up(entry, since, now)]


def test_a_month_is_waited_for_three_weeks_after_it_is_due():
    assert PATIENCE["month"] == dt.timedelta(days=21), "docs/pipelines.md says so"
    assert waited_out(DUE, THREE_WEEKS_LATER) == []
    assert waited_out(DUE, THREE_WEEKS_LATER + dt.timedelta(days=1)) == [MONTH]


def test_a_month_that_was_due_before_the_schedule_began_is_nobodys():
    assert waited_out(DUE + dt.timedelta(days=1), THREE_WEEKS_LATER + dt.timedelta(days=1)) == []


def test_each_month_is_given_up_in_turn():
    assert waited_out(dt.date(2026, 2, 15), dt.date(2026, 6, 1)) == ["2026-01", "2026-02", "2026-03"]


def test_months_before_a_datasets_first_one_were_never_due():
    """Though the schedule began before."""
    assert waited_out(dt.date(2025, 1, 1), dt.date(2026, 6, 1), Month(2026, 2)) == ["2026-02", "2026-03"]
    assert waited_out(dt.date(2025, 1, 1), dt.date(2026, 6, 1), Month(2026, 9)) == []


def test_a_dataset_without_months_is_never_given_up():
    assert list(given_up(DATASETS["zones"], DUE, dt.datetime(2030, 1, 1, tzinfo=dt.UTC))) == []


ROWS = replace(
    YELLOW,
    name="rows",
    path="/rides",
    source=Api("rides_api", BASE, params={"from": "{start}"}),
)
UNKNOWN = replace(published(JANUARY, None), last_modified=None, size=None)


@pytest.mark.parametrize(("reread", "expected"), [(0, []), (1, [MARCH]), (2, [FEBRUARY, MARCH]), (9, None)])
def test_rows_that_nobody_can_compare_are_read_again_as_far_as_the_entry_says(reread: int, expected):
    """The others are not even asked for: each would be a page, or a query."""
    months = [JANUARY, FEBRUARY, MARCH]
    source = FakeSource(dict.fromkeys(months, UNKNOWN))
    found = scanned(source, *map(stored, months), ds=replace(ROWS, reread=reread))
    assert list(found.to_load) == source.probed == (months if expected is None else expected)
    # Those that are named, as far as they are among them.
    found = scanned(source, *map(stored, months), ds=replace(ROWS, reread=reread), among=[JANUARY, MARCH])
    assert set(found.to_load) == set(source.probed[len(source.probed) - found.checked :]) <= {JANUARY, MARCH}


def test_rows_of_another_source_or_half_a_download_are_read_again_anyway():
    source = FakeSource(dict.fromkeys([JANUARY, FEBRUARY, MARCH], UNKNOWN))
    here = [stored(JANUARY), stored(FEBRUARY, checksum=""), stored(MARCH, source="https://sample")]
    assert scanned(source, *here, ds=ROWS).to_load == (FEBRUARY, MARCH)


def test_rows_that_are_gone_stay_in_the_lake():
    assert scanned(FakeSource(), stored(JANUARY), ds=replace(ROWS, reread=1)) == Scan(1, (), {})


def test_a_file_is_compared_whatever_is_to_be_read_again():
    source = FakeSource({JANUARY: published(JANUARY)})
    assert scanned(source, stored(JANUARY), ds=replace(YELLOW, reread=5)).to_load == ()


def test_a_period_is_over_when_its_last_moment_is():
    end = dt.datetime(2024, 2, 1, tzinfo=dt.UTC)
    assert is_over(JANUARY, end)
    assert not is_over(JANUARY, end - dt.timedelta(microseconds=1))
    assert is_over(None)
