"""Two engines for one Pulumi program: evaluated in process on emulators, or by the real `pulumi`.

`open_engine` is what the verbs call. Pulumi itself is imported only once an engine is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure.contract import Change, Drift, Engine, StackInfo
from taxiway.infrastructure.endpoints import Endpoints
from taxiway.infrastructure.errors import EngineError, StackNotRemovedError

__all__ = [
    "REPOSITORY",
    "Change",
    "Drift",
    "Endpoints",
    "Engine",
    "EngineError",
    "StackInfo",
    "StackNotRemovedError",
    "open_engine",
]

# What a stack on emulators is unless its owner says otherwise.
LOCAL_CONFIG = {"taxiway:project": "taxiway-local", "taxiway:credentials": "anonymous"}


def open_engine(
    name: str, stack: str, endpoints: Endpoints | None, folder: Path, config: Mapping[str, str] | None = None
) -> Engine:
    """Return the engine `in-process` or `cli` for a stack; without endpoints the stack is on Google Cloud.

    `folder` keeps what the engine remembers; `config` adds to, or replaces, the stack's settings.
    Raises EngineError where endpoints are given for a stack whose settings are for Google Cloud.
    """
    settings = {**(_local_settings(stack) if endpoints else {}), **(config or {})}
    if name == "in-process":
        return _in_process(stack, endpoints, folder, settings)
    from taxiway.infrastructure.cli import CliEngine

    return CliEngine(stack, settings, endpoints, folder)


def _local_settings(stack: str) -> dict[str, str]:
    """Return the settings of a stack on emulators: its owner's where there are any, else the usual ones."""
    from taxiway.infrastructure import stackfile

    known = stackfile.read(stack)
    if stackfile.is_on_google_cloud(known):
        raise EngineError(
            f"{stackfile.path_of(stack)} is a stack on Google Cloud, not on emulators.",
            "Give the one on emulators another name.",
        )
    return {**LOCAL_CONFIG, **{key: text for key, text in known.items() if key.startswith("taxiway:")}}


def _in_process(stack: str, endpoints: Endpoints | None, folder: Path, settings: Mapping[str, str]) -> Engine:
    if endpoints is None:
        raise EngineError("The in-process engine knows emulators alone.", "Use --engine cli.")
    from taxiway.infrastructure.in_process import InProcessEngine

    return InProcessEngine(stack, settings, endpoints, folder)
