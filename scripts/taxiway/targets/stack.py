"""Which stack a verb means, and its engine: the one that made it, where it is known."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from taxiway.console.progress import Progress
from taxiway.embedded.platform import Embedded
from taxiway.environment.paths import DEFAULT_STACK, Home
from taxiway.environment.state import State
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.infrastructure import LOCAL_CONFIG, Endpoints, Engine, open_engine

# For emulators that do not run yet: nothing is asked there.
NOWHERE = Endpoints(*["http://127.0.0.1:9"] * 3)


@dataclass(frozen=True)
class StackSettings:
    """A stack's name, its project on Google Cloud (empty: emulators) and its engine."""

    name: str
    project: str
    engine: str

    @classmethod
    def known(cls, name: str) -> StackSettings:
        """As its environment in this checkout says; a stack without one is on Google Cloud, or nowhere."""
        state = State.load(Home.of(name))
        return cls(name, state.project, state.engine) if state else cls(name, "", "cli")

    @classmethod
    def chosen(cls, options: argparse.Namespace) -> StackSettings:
        """As its environment says, or as the command line does; a stack made by hand is Pulumi's."""
        from taxiway.cli import arguments as _arguments

        said = options.engine or options.project
        if State.load(Home.of(options.stack)) or (not said and made_by_hand(options.stack)):
            return cls.known(options.stack)
        return cls(options.stack, options.project, _arguments.engine(options))

    def configuration(self) -> dict[str, str]:
        """What the program is evaluated with to estimate its price."""
        from taxiway.infrastructure import stackfile

        written = stackfile.read(self.name)
        if self.project:
            return {**written, "taxiway:project": self.project}
        if stackfile.is_on_google_cloud(written):
            return written
        return {**NOWHERE.config(), **LOCAL_CONFIG, **written}

    def is_elsewhere(self) -> bool:
        """Whether it is not on emulators of this checkout: command line, settings or Pulumi say so."""
        from taxiway.infrastructure import stackfile

        named = self.project or stackfile.is_on_google_cloud(stackfile.read(self.name))
        return bool(named) or made_by_hand(self.name)

    def check(self) -> None:
        """Refuse a wrong setting, or a missing `pulumi`, before anything is started."""
        from lakehouse.settings import Settings, SettingsError
        from taxiway.infrastructure import environment, stackfile

        if self.engine == "cli" and not shutil.which("pulumi"):
            raise PreflightError("there is no pulumi on PATH", "Install it; on emulators leave --engine out.")
        try:
            Settings.from_config({"taxiway:owner": environment.developer(), **self.configuration()})
        except SettingsError as error:
            raise TaxiwayError(
                str(error), f"The stack's settings are in {stackfile.path_of(self.name)}."
            ) from None


def made_by_hand(name: str) -> bool:
    """Whether `pulumi` on PATH has a stack of this name, which no verb of this checkout made.

    TaxiwayError where its settings say that there may be one, and no `pulumi` can be asked.
    """
    from taxiway.infrastructure import backend, stackfile

    home, settings = Home.of(name), stackfile.read(name)
    # A stack of the user's backend may have its settings in another checkout.
    may_be = stackfile.path_of(name).exists() or (name != DEFAULT_STACK and backend.own())
    if State.load(home) or not may_be:
        return False
    if not shutil.which("pulumi"):
        if stackfile.is_on_google_cloud(settings):
            raise TaxiwayError(
                f"{stackfile.path_of(name)} is a stack of Pulumi's, and there is no pulumi on PATH",
                "Install it, then call again.",
            )
        return False
    from taxiway.infrastructure.cli import CliEngine

    return CliEngine(name, {}, None, home.engine).exists()


def default_name() -> str:
    """The stack that is meant where none is named: this checkout's, else the one selected in Pulumi."""
    if State.load(Home.of(DEFAULT_STACK)) or not shutil.which("pulumi"):
        return DEFAULT_STACK
    from taxiway.infrastructure.stacks import selected

    return selected() or DEFAULT_STACK


@contextmanager
def open_stack(wanted: StackSettings) -> Iterator[Engine]:
    """The stack's engine; TaxiwayError where it is on emulators that do not run."""
    home = Home.of(wanted.name)
    state = State.load(home)
    if state and state.target != "embedded" and not state.project:
        raise TaxiwayError(
            f"the stack {wanted.name} is inside its containers, on emulators of its own",
            f"See scripts/status --stack {wanted.name}.",
        )
    if state:
        environment = Embedded(home, state, Progress())
        if not state.project and not environment.supervisor.pid():
            raise TaxiwayError(
                f"the emulators of {wanted.name} do not run", f"Start them: scripts/up --stack {wanted.name}"
            )
        yield environment.engine
    elif wanted.engine == "cli" and wanted.is_elsewhere():
        config = {"taxiway:project": wanted.project} if wanted.project else {}
        yield open_engine("cli", wanted.name, None, home.engine, config)
    else:
        yield open_engine(wanted.engine, wanted.name, NOWHERE, home.engine)
