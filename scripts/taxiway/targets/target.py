"""Where a platform may run, which class makes it run there, and the checkout whose platforms these are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taxiway.environment.home import REPOSITORY, Home, State
from taxiway.errors import TaxiwayError

# A command's help and completion are read from modules that import this one: what takes long to import
# (requests, psutil, Pulumi) is imported when an environment is opened.
if TYPE_CHECKING:
    from taxiway.compose.target import Compose
    from taxiway.console.progress import Progress
    from taxiway.embedded.platform import Embedded
    from taxiway.infrastructure import Engine
    from taxiway.infrastructure.stackfile import StackFiles

    Target = Embedded | Compose
    """One environment, wherever it runs. Both are called alike, and every step may be repeated."""

TARGETS = ("compose", "embedded")


def _open_engine(*arguments: object) -> Engine:
    from taxiway.infrastructure import open_engine

    return open_engine(*arguments)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Checkout:
    """A clone of the repository, the one that a command is called in.

    Tests call commands in a checkout of their own, with engines of their own.
    """

    folder: Path = REPOSITORY
    open_engine: Callable[..., Engine] = _open_engine

    def home(self, stack: str) -> Home:
        """The folder of a stack's environment; there need not be one."""
        return Home.of(stack, self.folder)

    @property
    def files(self) -> StackFiles:
        """The settings of its stacks."""
        from taxiway.infrastructure.stackfile import StackFiles

        return StackFiles(self.folder / "infra" / "stacks")

    def platform(self, stack: str, progress: Progress | None = None) -> Target:
        """A stack's environment, running or not; TaxiwayError if there is none."""
        from taxiway.console.progress import Progress

        home = self.home(stack)
        state = State.require(home)
        return target_class(state.target)(home, state, progress or Progress())

    def running(self, stack: str, progress: Progress | None = None) -> Target:
        """A stack's environment; TaxiwayError unless it runs."""
        found = self.platform(stack, progress)
        if not found.running():
            orphaned = "UNMANAGED" in found.states().values()
            state = "is left without its process manager" if orphaned else "does not run"
            raise TaxiwayError(f"the platform {state}", "Start it: scripts/up")
        return found


def target_class(name: str) -> type[Embedded] | type[Compose]:
    """What makes a platform run as processes of this machine (`embedded`) or as containers (`compose`)."""
    if name == "compose":
        from taxiway.compose.target import Compose

        return Compose
    from taxiway.embedded.platform import Embedded

    return Embedded
