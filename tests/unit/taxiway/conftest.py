"""What a command line leaves in its process, which has many of them here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taxiway.console.hints import HINTS
from taxiway.environment.home import DEFAULT_STACK


@pytest.fixture(autouse=True)
def no_command_names_the_stack_of_an_earlier_one() -> Iterator[None]:
    yield
    HINTS.stack = DEFAULT_STACK
