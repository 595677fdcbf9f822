"""Every environment that this checkout knows, whichever engine made it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lakehouse.settings import emulator_of
from taxiway.infrastructure import backend
from taxiway.infrastructure.cost import estimate, prices, total
from taxiway.infrastructure.engine import EngineError, StackInfo
from taxiway.infrastructure.in_process import State
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.stackfile import StackFiles


class Listing(NamedTuple):
    """The environments there are, and a sentence for each backend that did not answer."""

    stacks: list[StackInfo]
    trouble: list[str]


def stacks(folder: Path) -> Listing:
    """Return the stacks of the in-process engine and, where `pulumi` is on PATH, of its backends."""
    found, trouble = list[StackInfo](), list[str]()
    for path in folder.glob("*.json"):
        state = State(path)
        found.append(_info(path.stem, state.config, (state.created, state.updated), len(state.records)))
    for variables in backend.all_environments(folder) if shutil.which("pulumi") else ():
        try:
            found += _of_pulumi(variables)
        except EngineError as error:
            trouble.append(str(error))
    return Listing(sorted(found, key=lambda stack: stack.name), trouble)


def _of_pulumi(variables: Mapping[str, str]) -> list[StackInfo]:
    """Return the stacks of one backend; raises EngineError where it does not answer."""
    # Heavy, and only for those who have Pulumi.
    from pulumi import automation

    from taxiway.infrastructure.cli import Workspace, sentences

    workspace, found = Workspace(variables), list[StackInfo]()
    try:
        for one in workspace.list_stacks():
            history = automation.Stack.select(one.name, workspace).history(show_secrets=False)
            times = (_iso(history[-1].start_time) if history else "", _iso(one.last_update))
            found.append(_info(one.name, StackFiles().read(one.name), times, one.resource_count or 0))
    except automation.CommandError as error:
        where = variables.get("PULUMI_BACKEND_URL") or backend.own()
        raise EngineError(f"{where} could not be asked: {sentences(str(error))[0]}") from None
    return found


def _info(name: str, config: Mapping[str, str], times: tuple[str, str], resources: int) -> StackInfo:
    """Return an environment; its price is None where the settings are not (or no longer) valid."""
    owner, dollars = config.get("taxiway:owner", ""), None
    if emulator_of(config, "gcp:storageCustomEndpoint"):
        return StackInfo(name, owner, "emulators", *times, resources, 0.0)
    with suppress(EngineError):
        dollars = total(estimate(plan(name.rsplit("/", 1)[-1], config).resources, prices()))
    return StackInfo(name, owner, "google-cloud", *times, resources, dollars)


def _iso(moment: datetime | None) -> str:
    """Return a time in UTC; Pulumi's are without a zone, and in UTC too."""
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds")
