"""What the publisher has changed since it was loaded: one HEAD request a month."""

import datetime as dt

import pytest
import taxi

from elt.catalogue.registry import DATASETS
from elt.errors import TransientError
from elt.months import Month
from elt.sources import changes

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


def test_unchanged_months_cost_one_head_request_each(loaded, faulty_source):
    found = changes.look(YELLOW, loaded.connections)
    assert (found.looked_at, found.to_load) == (3, ())
    assert faulty_source.requests == [("HEAD", taxi.YELLOW.format(month)) for month in MONTHS]


def test_a_republished_month_is_found_until_it_is_loaded(loaded, faulty_source):
    publish(faulty_source, "2024-02", seed=7)
    assert changes.look(YELLOW, loaded.connections).to_load == ("2024-02",)
    loaded.run("download", "yellow", "2024-02", "again")
    assert changes.look(YELLOW, loaded.connections).to_load == ()


def test_only_the_named_months_are_asked_for(loaded, faulty_source):
    publish(faulty_source, "2024-01", seed=7)
    publish(faulty_source, "2024-02", seed=7)
    found = changes.look(YELLOW, loaded.connections, among=[Month(2024, 2), Month(2024, 3)])
    assert (found.looked_at, found.to_load) == (2, ("2024-02",))


def test_a_withdrawn_month_stays_and_nobody_is_bothered(loaded, faulty_source):
    faulty_source.serve_status(taxi.YELLOW.format("2024-01"), 403)
    found = changes.look(YELLOW, loaded.connections)
    assert (found.to_load, found.refused) == ((), {})


def test_an_error_page_in_a_months_place_is_said_and_the_others_are_looked_at(loaded, faulty_source):
    faulty_source.serve_html(taxi.YELLOW.format("2024-01"))
    publish(faulty_source, "2024-03", seed=7)
    found = changes.look(YELLOW, loaded.connections)
    assert found.to_load == ("2024-03",)
    assert "HTML" in found.refused["2024-01"]


def test_a_source_that_does_not_answer_is_trouble(loaded, faulty_source):
    faulty_source.serve_status(taxi.YELLOW.format("2024-01"), 503)
    with pytest.raises(TransientError, match="503"):
        changes.look(YELLOW, loaded.connections)


def test_a_month_that_came_after_all_is_found(loaded, faulty_source):
    """The schedule began when 2024-03 was due, and gave 2024-04 up."""
    since = dt.date(2024, 5, 1)
    assert changes.look(YELLOW, loaded.connections, scheduled_since=since).to_load == ()
    publish(faulty_source, "2024-04")
    assert changes.look(YELLOW, loaded.connections, scheduled_since=since).to_load == ("2024-04",)
    assert changes.look(YELLOW, loaded.connections).to_load == ()


def test_a_dataset_without_months_is_looked_at_as_a_whole(stack, faulty_source):
    stack.run("download", "zones", None)
    assert changes.look(DATASETS["zones"], stack.connections).to_load == ()
    faulty_source.serve(taxi.ZONES, taxi.ZONES_CSV + b'5,"Queens","Somewhere","Boro Zone"\n')
    assert changes.look(DATASETS["zones"], stack.connections).to_load == ("",)
