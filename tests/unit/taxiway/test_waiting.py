"""A wait ends: with what was waited for, with a component that gave up, or with its deadline."""

from __future__ import annotations

import ast
import sys
from typing import Any

import pytest
from repository import REPOSITORY

from taxiway.errors import TaxiwayError
from taxiway.waiting import REMINDER, Patience, run

LIMITED = {
    *(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output")),
    *(f"requests.{name}" for name in ("get", "post", "put", "patch", "delete", "head")),
}


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patience(self, seconds: float, **how: Any) -> Patience:
        return Patience(seconds, every=1, clock=self.time, sleep=self.sleep, **how)


def test_what_holds_already_is_not_waited_for() -> None:
    clock = Clock()
    clock.patience(10).until(lambda: True, lambda: "")
    assert clock.now == 0


def test_it_returns_as_soon_as_the_condition_holds() -> None:
    clock = Clock()
    clock.patience(10).until(lambda: clock.now >= 3, lambda: "")
    assert clock.now == 3


def test_the_deadline_ends_with_the_complaint_and_its_remedy() -> None:
    clock = Clock()
    with pytest.raises(TaxiwayError, match=r"gcs does not answer \(after 10 s\)") as raised:
        clock.patience(10, remedy="See scripts/logs gcs").until(lambda: False, lambda: "gcs does not answer")
    assert raised.value.remedy == "See scripts/logs gcs"
    assert clock.now == 11


def test_a_component_that_gives_up_ends_the_wait_at_once() -> None:
    def watch() -> None:
        raise TaxiwayError("scheduler does not stay up")

    clock = Clock()
    with pytest.raises(TaxiwayError, match="stay up"):
        clock.patience(100, watch=watch).until(lambda: False, lambda: "")
    assert clock.now == 0


def test_a_long_wait_says_what_it_is_waiting_for() -> None:
    clock, reports = Clock(), list[str]()
    patience = clock.patience(1000, remind=reports.append)
    patience.until(lambda: clock.now > 3 * REMINDER, lambda: "DAGs are missing")
    assert reports == ["still waiting: DAGs are missing"] * 2


def test_a_program_that_does_not_end_is_ended_and_named() -> None:
    with pytest.raises(TaxiwayError, match="did not end within 0 s") as raised:
        run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2, "Try again.")
    assert "python" in str(raised.value)
    assert raised.value.remedy == "Try again."


def calls_without_a_time_limit() -> list[str]:
    return [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for folder in ("scripts", "plugins", "infra", "dags", "dags_local")
        for file in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in LIMITED
        and "timeout" not in {keyword.arg for keyword in node.keywords}
    ]


def test_no_call_of_a_program_or_a_server_is_without_a_time_limit() -> None:
    assert calls_without_a_time_limit() == []


def test_the_output_of_a_program_is_text_and_its_failure_the_callers() -> None:
    done = run([sys.executable, "-c", "print('here'); raise SystemExit(3)"])
    assert (done.stdout, done.returncode) == ("here\n", 3)
