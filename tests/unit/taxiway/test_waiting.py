"""A wait ends: with what was waited for, with a component that gave up, or with its deadline."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import pytest

from taxiway.errors import TaxiwayError
from taxiway.waiting import REMINDER, run, wait_until


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_what_holds_already_is_not_waited_for() -> None:
    clock = Clock()
    wait_until(lambda: True, 10, lambda: "", clock=clock.time, sleep=clock.sleep)
    assert clock.slept == []


def test_it_returns_as_soon_as_the_condition_holds() -> None:
    clock = Clock()
    wait_until(lambda: clock.now >= 3, 10, lambda: "", every=1, clock=clock.time, sleep=clock.sleep)
    assert clock.now == 3


def test_the_deadline_ends_with_the_complaint_and_its_remedy() -> None:
    clock = Clock()
    with pytest.raises(TaxiwayError, match=r"gcs does not answer \(after 10 s\)") as raised:
        wait_until(
            lambda: False,
            10,
            lambda: "gcs does not answer",
            remedy="See scripts/logs gcs",
            every=1,
            clock=clock.time,
            sleep=clock.sleep,
        )
    assert raised.value.remedy == "See scripts/logs gcs"
    assert clock.now == 11


def test_a_component_that_gives_up_ends_the_wait_at_once() -> None:
    def watch() -> None:
        raise TaxiwayError("scheduler does not stay up")

    clock = Clock()
    with pytest.raises(TaxiwayError, match="stay up"):
        wait_until(lambda: False, 100, lambda: "", watch=watch, clock=clock.time, sleep=clock.sleep)
    assert clock.now == 0


def test_a_long_wait_says_what_it_is_waiting_for() -> None:
    clock, reports = Clock(), list[str]()
    wait_until(
        lambda: clock.now > 3 * REMINDER,
        1000,
        lambda: "DAGs are missing",
        every=1,
        remind=reports.append,
        clock=clock.time,
        sleep=clock.sleep,
    )
    assert reports == ["still waiting: DAGs are missing"] * 2


def test_a_program_that_does_not_end_is_ended_and_named() -> None:
    with pytest.raises(TaxiwayError, match="did not end within 0 s") as raised:
        run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2, "Try again.")
    assert "python" in str(raised.value)
    assert raised.value.remedy == "Try again."


def test_the_output_of_a_program_is_text_and_its_failure_the_callers() -> None:
    done = run([sys.executable, "-c", "print('here'); raise SystemExit(3)"])
    assert (done.stdout, done.returncode) == ("here\n", 3)
