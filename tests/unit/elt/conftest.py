"""What the library's unit tests share."""

import pytest
from fakes import Stack


@pytest.fixture
def stack() -> Stack:
    """A stack in memory, with nothing in it."""
    return Stack()
