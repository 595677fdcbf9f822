"""Working ahead changes when things are done, not what comes out, and leaves no thread behind."""

import threading
import time
from contextlib import closing

import pytest

from elt.formats.prefetch import ahead


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_items_come_in_order_and_all_of_them(count):
    assert list(ahead(range(20), count)) == list(range(20))
    assert threads() == []


def test_the_next_item_is_made_while_the_last_one_is_used():
    made = []

    def items():
        for number in range(6):
            made.append(number)
            yield number

    with closing(ahead(items(), 2)) as pieces:
        assert next(pieces) == 0
        deadline = time.monotonic() + 10
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        # One in use, two in advance: never more.
        time.sleep(0.05)
        assert made == [0, 1, 2]


def test_an_error_comes_where_its_item_would_have():
    def items():
        yield "good"
        raise ValueError("bad")

    pieces = ahead(items())
    assert next(pieces) == "good"
    with pytest.raises(ValueError, match=r"^bad$"):
        next(pieces)
    assert threads() == []


def test_who_stops_in_the_middle_stops_the_thread():
    stopped = threading.Event()

    def items():
        try:
            yield from range(10**9)
        finally:
            stopped.set()

    with closing(ahead(items())) as pieces:
        assert next(pieces) == 0
    assert threads() == []
    assert stopped.wait(10)


def test_an_error_of_the_consumer_stops_the_thread():
    with pytest.raises(KeyError), closing(ahead(range(10**9))) as pieces:
        raise KeyError(next(pieces))
    assert threads() == []
