"""Two engines for one Pulumi program: evaluated in process on emulators, or by the real `pulumi`.

`open_engine` is what the commands call. Pulumi itself is imported only once an engine is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lakehouse.names import PROJECT
from taxiway.infrastructure.engine import Endpoints, Engine, EngineError, StackNotRemovedError
from taxiway.infrastructure.stackfile import StackFiles, is_on_google_cloud

__all__ = [
    "EMULATORS",
    "LOCAL_CONFIG",
    "Endpoints",
    "Engine",
    "EngineError",
    "StackNotRemovedError",
    "open_engine",
]

# What a stack on emulators is unless its owner says otherwise. docker-compose.yaml repeats the project as the
# default of a plain `docker compose up`; tests/contract/test_compose_file.py holds the two together.
LOCAL_CONFIG: Final[Mapping[str, str]] = {
    "taxiway:project": f"{PROJECT}-local",
    "taxiway:credentials": "anonymous",
}

# What has to run before an engine brings up a stack on emulators.
EMULATORS: Final[Mapping[str, tuple[str, ...]]] = {
    "in-process": ("gcs", "bigquery"),
    # The real provider makes accounts, grants and enabled APIs too, and waits until it can read them.
    "cli": ("gcs", "bigquery", "control-plane"),
}


def open_engine(
    name: str,
    stack: str,
    endpoints: Endpoints | None,
    folder: Path,
    config: Mapping[str, str] | None = None,
    files: StackFiles | None = None,
) -> Engine:
    """Return the engine `in-process` or `cli` for a stack; without endpoints the stack is on Google Cloud.

    `folder` keeps what the engine remembers; `config` adds to, or replaces, the stack's settings in `files`
    (by default infra/stacks). Raises EngineError where endpoints are given for a stack on Google Cloud.
    """
    files = files or StackFiles()
    settings = dict(config or {})
    if endpoints:
        # A stack on emulators is what its owner's settings say, where there are any.
        known = files.read(stack)
        if is_on_google_cloud(known):
            raise EngineError(
                f"{files.path_of(stack)} is a stack on Google Cloud, not on emulators.",
                "Give the one on emulators another name.",
            )
        ours = {key: text for key, text in known.items() if key.startswith("taxiway:")}
        settings = {**LOCAL_CONFIG, **ours, **settings}
    if name == "in-process":
        if endpoints is None:
            raise EngineError("The in-process engine knows emulators alone.", "Use --engine cli.")
        from taxiway.infrastructure.in_process import InProcessEngine

        return InProcessEngine(stack, settings, endpoints, folder)
    from taxiway.infrastructure.cli import CliEngine

    return CliEngine(stack, settings, endpoints, folder, files=files)
