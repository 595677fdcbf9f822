"""What the publisher has changed since it was loaded: one HEAD request a month."""

import datetime as dt

import pytest
import taxi

from elt.catalogue.registry import DATASETS
from elt.errors import TransientError
from elt.periods import Month
from elt.sources.changes import Scan, scan

pytestmark = pytest.mark.emulators
YELLOW = DATASETS["yellow"]
MONTHS = ("2024-01", "2024-02", "2024-03")


@pytest.fixture
def loaded(stack, faulty_source):
    for month in MONTHS:
        publish(faulty_source, month)
        stack.run("download", "yellow", month)
    faulty_source.requests.clear()
    return stack


def publish(source, month, seed=0):
    source.serve(taxi.YELLOW.format(month), taxi.parquet(taxi.trips(month, rows=20, seed=seed)))


def scanned(stack, ds=YELLOW, **how) -> Scan:
    with stack.connections.source(ds) as source, stack.lake() as lake:
        return scan(ds, source, lake, **how)


def test_unchanged_months_cost_one_head_request_each(loaded, faulty_source):
    assert scanned(loaded) == Scan(3, (), {})
    assert faulty_source.requests == [("HEAD", taxi.YELLOW.format(month)) for month in MONTHS]


def test_a_republished_month_is_found_until_it_is_loaded(loaded, faulty_source):
    publish(faulty_source, "2024-02", seed=7)
    assert scanned(loaded).to_load == (Month(2024, 2),)
    loaded.run("download", "yellow", "2024-02", "again")
    assert scanned(loaded).to_load == ()


def test_an_error_page_in_a_months_place_is_named_and_the_others_are_checked(loaded, faulty_source):
    faulty_source.serve_html(taxi.YELLOW.format("2024-01"))
    publish(faulty_source, "2024-03", seed=7)
    found = scanned(loaded)
    assert found.to_load == (Month(2024, 3),)
    assert "HTML" in found.failed["yellow 2024-01"]


def test_a_month_that_the_source_does_not_answer_for_is_named_and_the_others_are_checked(
    loaded, faulty_source
):
    faulty_source.serve_status(taxi.YELLOW.format("2024-01"), 503)
    publish(faulty_source, "2024-03", seed=7)
    found = scanned(loaded)
    assert found.to_load == (Month(2024, 3),)
    assert "503" in found.failed["yellow 2024-01"]


def test_a_source_that_answers_for_no_month_ends_the_scan(loaded, faulty_source):
    for month in MONTHS:
        faulty_source.serve_status(taxi.YELLOW.format(month), 503)
    with pytest.raises(TransientError, match="503"):
        scanned(loaded)


def test_a_month_that_came_after_all_is_found(loaded, faulty_source):
    """The schedule began when 2024-03 was due, and gave 2024-04 up."""
    since = dt.date(2024, 5, 1)
    assert scanned(loaded, scheduled_since=since).to_load == ()
    publish(faulty_source, "2024-04")
    assert scanned(loaded, scheduled_since=since).to_load == (Month(2024, 4),)


def test_a_dataset_without_months_is_checked_as_a_whole(stack, faulty_source):
    zones = DATASETS["zones"]
    stack.run("download", "zones", None)
    assert scanned(stack, zones).to_load == ()
    faulty_source.serve(taxi.ZONES, taxi.ZONES_CSV + b'5,"Queens","Somewhere","Boro Zone"\n')
    assert scanned(stack, zones).to_load == (None,)
