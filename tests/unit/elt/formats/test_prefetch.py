"""Prefetching: the same items in order, no more in advance than allowed, and no thread left behind."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from elt.formats.prefetch import prefetch


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_items_come_in_order_and_all_of_them(count):
    assert list(prefetch(range(20), count)) == list(range(20))
    assert threads() == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_so_many_items_are_made_in_advance_and_never_more(count):
    requested, lead, full = 0, [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(200):
            # The item in use is the one requested last.
            lead.append(number + 1 - requested)
            if number == count:
                full.set()
            yield number

    with closing(prefetch(items(), count)) as pieces:
        for number in range(200):
            requested += 1
            assert next(pieces) == number
            assert full.wait(10), "nothing is made while an item is in use"
    assert max(lead) == count


def test_an_error_comes_where_its_item_would_have():
    def items():
        yield "good"
        raise ValueError("bad")

    pieces = prefetch(items())
    assert next(pieces) == "good"
    with pytest.raises(ValueError, match=r"^bad$"):
        next(pieces)
    assert threads() == []


def test_who_stops_in_the_middle_stops_the_thread_and_closes_the_iterator():
    stopped = threading.Event()

    def items():
        try:
            yield from range(10**9)
        finally:
            stopped.set()

    source = items()
    with closing(prefetch(source)) as pieces:
        assert next(pieces) == 0
    assert threads() == []
    assert stopped.is_set()


def test_an_error_of_the_consumer_stops_the_thread():
    with pytest.raises(KeyError), closing(prefetch(range(10**9))) as pieces:
        raise KeyError(next(pieces))
    assert threads() == []
