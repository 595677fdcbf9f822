"""A short version of `python tests/support/chaos.py`, which says what it does."""

from __future__ import annotations

import pytest
from chaos import Chaos
from checkout import Checkout

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3600)]


def test_whatever_is_killed_or_hangs_every_store_ends_as_it_began(checkout: Checkout) -> None:
    figures = Chaos(checkout, seed=1, longest=60).attack(kills=12, stops=2)
    assert figures.wrong == [], figures.text()
    assert sum(figures.killed.values()) >= 12
    assert figures.reads["whole"] > 0
