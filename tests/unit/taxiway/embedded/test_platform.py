"""The end of an environment on this machine: a protected stack stays, one that is gone is forgotten."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taxiway.console.progress import Progress, Screen
from taxiway.embedded.components import components
from taxiway.embedded.health import LEAST_FREE, of_the_disk
from taxiway.embedded.platform import Embedded
from taxiway.environment.home import Home, State, write_atomically
from taxiway.environment.ports import USUAL
from taxiway.errors import TaxiwayError
from taxiway.infrastructure import EngineError, StackNotRemovedError


class Supervisor:
    """A process manager of which the test says whether it runs."""

    def __init__(self) -> None:
        self.alive = True
        self.state, self.later = "RUNNING", list[str]()
        self.served = {9}

    def pid(self) -> int | None:
        return 1 if self.alive else None

    def states(self) -> dict[str, str]:
        self.state = self.later.pop(0) if self.later else self.state
        return {"gcs": self.state}

    def survivors(self) -> set[str]:
        return set()

    def listens(self, port: int) -> bool:
        return port in self.served

    def stop_components(self, _names: Any) -> None:
        pass

    def stop(self) -> None:
        self.alive = False

    def strays(self) -> list[Any]:
        return []

    def end_strays(self) -> list[str]:
        return []


class Engine:
    """An engine whose teardown fails as the test says."""

    def __init__(self) -> None:
        self.failure: EngineError | None = None
        self.known = True

    def destroy(self) -> list[str]:
        if self.failure:
            raise self.failure
        return ["bucket lake"]

    def leftovers(self) -> list[str]:
        return []

    def forget(self) -> None:
        if isinstance(self.failure, StackNotRemovedError):
            raise self.failure
        self.known = False


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def environment(tmp_path: Path, supervisor: Supervisor, engine: Engine) -> Embedded:
    names = ("supervisor", "gcs", "bigquery", "control-plane")
    state = State(dict.fromkeys(names, 9))
    opened: Any = (lambda *_: engine), (lambda *_: supervisor)
    return Embedded(Home(tmp_path), state, Progress(), *opened)


def test_what_was_destroyed_is_said_and_forgotten(
    environment: Embedded, supervisor: Supervisor, engine: Engine
) -> None:
    assert environment.stop(keep=False) == ["bucket lake", "process  gcs"]
    assert not supervisor.alive
    assert not engine.known


def test_a_protected_stack_keeps_its_emulators_and_their_data(
    environment: Embedded, supervisor: Supervisor, engine: Engine
) -> None:
    engine.failure = StackNotRemovedError("Stack local is protected.")
    with pytest.raises(StackNotRemovedError):
        environment.stop(keep=False)
    assert supervisor.alive
    supervisor.stop()
    with pytest.raises(StackNotRemovedError):
        environment.stop(keep=False)
    assert engine.known


def test_emulators_that_do_not_answer_are_stopped_and_the_stack_is_forgotten(
    environment: Embedded, supervisor: Supervisor, engine: Engine
) -> None:
    engine.failure = EngineError("GET http://127.0.0.1:9 got no answer")
    assert environment.stop(keep=False) == ["process  gcs"]
    assert not supervisor.alive
    assert not engine.known


def test_a_stack_whose_emulators_were_stopped_before_is_forgotten_with_their_data(
    environment: Embedded, supervisor: Supervisor, engine: Engine
) -> None:
    environment.stop(keep=True)
    assert engine.known
    environment.stop(keep=False)
    assert not engine.known


@pytest.mark.parametrize(("states", "ends"), [(["BACKOFF", "RUNNING"], False), (["BACKOFF", "FATAL"], True)])
def test_only_a_component_that_has_given_up_ends_the_wait_for_it(
    environment: Embedded, supervisor: Supervisor, states: list[str], ends: bool
) -> None:
    """PostgreSQL ends at once, and again, until what a kill has left beside it is gone."""
    supervisor.later = list(states)

    def wait() -> None:
        environment._patience.until(lambda: supervisor.state == states[-1], lambda: "gcs does not answer")
        environment._raise_if_gone()

    if not ends:
        wait()
        return
    with pytest.raises(TaxiwayError, match="gcs does not stay up"):
        wait()


@pytest.mark.parametrize(("port", "known"), [(9, True), (8080, False)])
def test_airflow_is_known_by_who_listens(environment: Embedded, port: int, known: bool) -> None:
    write_atomically(environment.home.secrets / "admin_password", "x")
    asked = replace(environment, state=State({**environment.state.ports, "api-server": port}))
    assert asked.api.trusted() is known


def test_a_start_as_root_is_said(tmp_path: Path) -> None:
    screen = io.StringIO()
    progress = Progress(Screen(file=screen, width=200))
    Embedded.prepare(Home.of("local", tmp_path), progress, source="sample", engine="in-process")
    assert ("this is root" in screen.getvalue()) == (os.geteuid() == 0)


def test_another_source_is_said_since_it_restarts_what_runs(tmp_path: Path) -> None:
    screen, home = io.StringIO(), Home.of("local", tmp_path)
    progress = Progress(Screen(file=screen, width=200))
    Embedded.prepare(home, progress, source="tlc", engine="in-process")
    assert "the data's source" not in screen.getvalue(), "nothing has read another one"
    home.airflow.mkdir()
    Embedded.prepare(home, progress, source="sample", engine="in-process")
    assert "the data's source is sample from now on" in screen.getvalue()


def test_a_disk_that_is_full_is_named_with_what_to_do(tmp_path: Path) -> None:
    (sentence,) = of_the_disk(tmp_path, 5 << 20).values()
    assert sentence == f"is full: 5 MiB are free at {tmp_path}; free some, then scripts/run --failed"
    assert of_the_disk(tmp_path, LEAST_FREE) == {}


def test_only_what_forks_tasks_imports_first_what_they_need(tmp_path: Path) -> None:
    """A second of CPU time and 70 MB of each task; the others would keep it for nothing."""
    preloading = {c.name for c in components(Home(tmp_path), USUAL) if "TAXIWAY_PRELOAD" in c.environment}
    assert preloading == {"scheduler"}
