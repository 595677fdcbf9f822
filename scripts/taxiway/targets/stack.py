"""Which stack a command means, and its engine: the one that made it if that is known."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from lakehouse.settings import project_of
from taxiway.environment.home import DEFAULT_STACK, State
from taxiway.errors import PreflightError, TaxiwayError, UsageError
from taxiway.infrastructure import LOCAL_CONFIG, Endpoints, Engine, EngineError
from taxiway.infrastructure.stackfile import StackFiles, is_on_google_cloud
from taxiway.targets.target import Checkout

if TYPE_CHECKING:
    from lakehouse.settings import Settings

# For emulators that do not run yet: a plan needs addresses, and sends nothing there.
NOWHERE = Endpoints(*["http://127.0.0.1:9"] * 3)


@dataclass(frozen=True)
class StackSettings:
    """A stack's name, its project on Google Cloud (empty: emulators) and its engine."""

    name: str
    project: str
    engine: str

    @classmethod
    def known(cls, checkout: Checkout, name: str) -> StackSettings:
        """As its environment in this checkout says; a stack without one is on Google Cloud, or nowhere."""
        state = State.load(checkout.home(name))
        if state is None:
            return cls(name, "", "cli")
        return cls(name, "" if state.emulated else project_of(checkout.files.read(name)), state.engine)

    @classmethod
    def chosen(cls, checkout: Checkout, name: str, project: str, engine: str) -> StackSettings:
        """As its environment says, or as the command line does; a stack made by hand is Pulumi's."""
        if State.load(checkout.home(name)) or (not (engine or project) and made_by_hand(checkout, name)):
            return cls.known(checkout, name)
        return cls(name, project, _engine(project, engine))

    @classmethod
    def wanted(cls, checkout: Checkout, name: str, project: str, engine: str, target: str) -> StackSettings:
        """What `up` is to bring up: what is here already stays where it is.

        TaxiwayError if the environment is somewhere else than the command line says.
        """
        state = State.load(checkout.home(name))
        if state is None:
            written = checkout.files.read(name)
            elsewhere = project or name == DEFAULT_STACK or is_on_google_cloud(written)
            if not elsewhere and made_by_hand(checkout, name):
                raise TaxiwayError(
                    f"the stack {name} is one that pulumi made",
                    "Name its project with --project, or another stack for emulators.",
                )
            return cls(name, project, _engine(project, engine))
        here = cls.known(checkout, name)
        # A stack that is somewhere else would lose its data, or leave it there, if it were made again here.
        if (state.target, here.project) != (target, project or here.project):
            raise TaxiwayError(
                f"the stack {name} is here as {state.target} on {here.project or 'emulators'}",
                f"Take it down before it moves: scripts/down --stack {name}",
            )
        return cls(name, here.project, _engine(here.project, engine or here.engine))

    def configuration(self, files: StackFiles) -> dict[str, str]:
        """What the program is evaluated with to estimate its price."""
        written = files.read(self.name)
        if self.project:
            return {**written, "taxiway:project": self.project}
        if is_on_google_cloud(written):
            return written
        return {**NOWHERE.config(), **LOCAL_CONFIG, **written}

    def is_elsewhere(self, checkout: Checkout) -> bool:
        """Whether it is not on emulators of this checkout: command line, settings or Pulumi say so."""
        named = self.project or is_on_google_cloud(checkout.files.read(self.name))
        return bool(named) or made_by_hand(checkout, self.name)

    def check(self, files: StackFiles, more: Mapping[str, str] = MappingProxyType({})) -> Settings:
        """Its settings, `more` among them; refuses a wrong one, or a missing `pulumi`, before a start."""
        from lakehouse.settings import Settings, SettingsError
        from taxiway.infrastructure import environment

        written = files.read(self.name)
        if not self.project and is_on_google_cloud(written):
            # It would cost money, so nobody gets there by a file alone.
            raise TaxiwayError(
                f"{files.path_of(self.name)} is a stack on Google Cloud",
                f"Name its project, --project {project_of(written)}, or another stack for emulators.",
            )
        if self.engine == "cli" and not shutil.which("pulumi"):
            raise PreflightError("there is no pulumi on PATH", "Install it; on emulators leave --engine out.")
        try:
            config = {"taxiway:owner": environment.developer(), **self.configuration(files), **more}
            settings = Settings.from_config(config)
        except SettingsError as error:
            raise TaxiwayError(
                str(error), f"The stack's settings are in {files.path_of(self.name)}."
            ) from None
        if self.project and not settings.on_emulators:
            try:
                environment.check_signed_in(impersonation=settings.credentials == "impersonation")
            except EngineError as error:
                raise PreflightError(str(error), error.remedy) from None
        return settings


def _engine(project: str, engine: str) -> str:
    if engine == "in-process" and project:
        raise UsageError("--engine in-process works on emulators only", "With --project leave --engine out.")
    return engine or ("cli" if project else "in-process")


def made_by_hand(checkout: Checkout, name: str) -> bool:
    """Whether `pulumi` on PATH has a stack of this name, which no command of this checkout made.

    TaxiwayError if its settings say that there may be one, and there is no `pulumi` to list it.
    """
    from taxiway.infrastructure import backend

    home, file = checkout.home(name), checkout.files.path_of(name)
    # A stack of the user's backend may have its settings in another checkout.
    may_be = file.exists() or (name != DEFAULT_STACK and backend.own())
    if State.load(home) or not may_be:
        return False
    if not shutil.which("pulumi"):
        if is_on_google_cloud(checkout.files.read(name)):
            raise TaxiwayError(
                f"{file} is a stack of Pulumi's, and there is no pulumi on PATH",
                "Install it, then call again.",
            )
        return False
    return checkout.open_engine("cli", name, None, home.engine, {}, checkout.files).exists()


def default_name() -> str:
    """The stack that is meant if none is named: the one selected in Pulumi, else this checkout's."""
    if not shutil.which("pulumi"):
        return DEFAULT_STACK
    from taxiway.infrastructure.backend import selected

    return selected() or DEFAULT_STACK


def open_stack(checkout: Checkout, wanted: StackSettings) -> Engine:
    """The stack's engine; TaxiwayError if it is on emulators that do not run."""
    home = checkout.home(wanted.name)
    state = State.load(home)
    if state and state.emulated and state.target != "embedded":
        raise TaxiwayError(
            f"the stack {wanted.name} is inside its containers, on emulators of its own",
            f"See scripts/status --stack {wanted.name}.",
        )
    if state and state.emulated:
        platform = checkout.platform(wanted.name)
        if not platform.running():
            raise TaxiwayError(
                f"the emulators of {wanted.name} do not run", f"Start them: scripts/up --stack {wanted.name}"
            )
        return platform.engine
    if state or (wanted.engine == "cli" and wanted.is_elsewhere(checkout)):
        config = {"taxiway:project": wanted.project} if wanted.project else {}
        return checkout.open_engine("cli", wanted.name, None, home.engine, config, checkout.files)
    return checkout.open_engine(wanted.engine, wanted.name, NOWHERE, home.engine, {}, checkout.files)
