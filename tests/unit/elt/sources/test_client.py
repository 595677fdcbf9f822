"""How long a busy source is waited for. No I/O."""

import pytest
import urllib3

from elt.sources.client import Patience, _Retry


@pytest.mark.parametrize(
    ("asked", "seconds"), [("7", 7), ("60", 60), ("61", None), ("3600", None), ("soon", None), (None, None)]
)
def test_a_busy_source_is_waited_for_as_long_as_it_asks_unless_that_is_too_long(asked, seconds):
    retry = _Retry(3)
    retry.longest = Patience().retry_after
    answer = urllib3.HTTPResponse(status=429, headers={"Retry-After": asked} if asked else {})
    # Each attempt is told by a copy of the one before.
    assert retry.increment("GET", "/", response=answer).get_retry_after(answer) == seconds
