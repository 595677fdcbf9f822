"""What a rehearsal of an upgrade reads and writes; the rehearsal itself takes Docker."""

from __future__ import annotations

import pytest

from taxiway.compose import upgrade
from taxiway.environment.home import REPOSITORY
from taxiway.errors import TaxiwayError


def test_exactly_the_one_requirement_is_replaced() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    changed = upgrade.pinned(text, "3.9.1")
    ours = [(a, b) for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert [b.strip() for _, b in ours] == ['"apache-airflow==3.9.1",']
    with pytest.raises(TaxiwayError, match="does not say which Airflow"):
        upgrade.pinned("", "3.9.1")


def test_what_differs_between_two_locks_is_told_by_package() -> None:
    lock = '[[package]]\nname = "a"\nversion = "1"\n\n[[package]]\nname = "b"\nversion = "2"\n'
    other = lock.replace('"2"', '"3"').replace('"a"', '"c"')
    told = upgrade.differences(upgrade.versions(lock), upgrade.versions(other))
    assert told == ["a 1 → none", "b 2 → 3", "c none → 1"]


def test_the_lock_of_this_checkout_is_understood() -> None:
    found = upgrade.versions((REPOSITORY / "uv.lock").read_text())
    assert found["apache-airflow"].startswith("3.")
    assert len(found) > 200
