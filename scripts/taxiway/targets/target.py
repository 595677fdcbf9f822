"""Where a platform may run, and which class makes it run there."""

from __future__ import annotations

from typing import Protocol

from taxiway.airflow.client import AirflowApi
from taxiway.compose.target import Compose
from taxiway.console.progress import Progress
from taxiway.embedded.components import Component
from taxiway.embedded.platform import Embedded
from taxiway.environment.paths import Home
from taxiway.environment.state import State


class Target(Protocol):
    """One environment, wherever it runs. Every step may be repeated."""

    @property
    def state(self) -> State:
        """What was decided about it."""
        ...

    @property
    def api(self) -> AirflowApi:
        """Its Airflow."""
        ...

    def start(self) -> Target:
        """Bring everything up."""
        ...

    def components(self) -> list[Component]:
        """What it consists of."""
        ...

    def states(self) -> dict[str, str]:
        """State by component; RUNNING is well."""
        ...

    def running(self) -> bool:
        """Whether anything of it runs."""
        ...

    def log_command(self, component: str, lines: int, *, follow: bool) -> list[str]:
        """The command that shows a component's log."""
        ...

    def airflow_command(self, arguments: list[str]) -> list[str]:
        """The command that runs Airflow's own command line."""
        ...

    def stop(self, *, keep: bool) -> list[str]:
        """Stop it; unless `keep`, remove what it holds. Returns what is gone."""
        ...

    def left(self, *, keep: bool) -> list[str]:
        """What is still there after `stop`."""
        ...


TARGETS: dict[str, type[Embedded] | type[Compose]] = {"embedded": Embedded, "compose": Compose}


def target_of(home: Home, state: State, progress: Progress) -> Target:
    """The environment that `state` remembers."""
    return TARGETS[state.target](home, state, progress)
