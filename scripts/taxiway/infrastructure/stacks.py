"""Every environment that this checkout knows, whichever engine made it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lakehouse.settings import emulator_of
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import backend
from taxiway.infrastructure.cost import estimate, prices, total
from taxiway.infrastructure.engine import EngineError, StackInfo
from taxiway.infrastructure.in_process import State
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.stackfile import StackFiles

if TYPE_CHECKING:
    from pulumi import automation


class Listing(NamedTuple):
    """The environments there are, and a sentence for each backend that did not answer."""

    stacks: list[StackInfo]
    trouble: list[str]


def stacks(folder: Path) -> Listing:
    """Return the stacks of the in-process engine and, where `pulumi` is on PATH, of its backends."""
    found, trouble = list(_in_process(folder)), []
    for variables in backend.all_environments(folder) if shutil.which("pulumi") else ():
        try:
            found += _of_pulumi(variables)
        except EngineError as error:
            trouble.append(str(error))
    return Listing(sorted(found, key=lambda stack: stack.name), trouble)


def selected() -> str:
    """Return the stack that the user selected in their own backend; empty where there is none."""
    # Heavy, and only for those who have Pulumi.
    from pulumi import automation

    if not backend.own():
        return ""
    # Listing asks for no secret.
    workspace = automation.LocalWorkspace(work_dir=str(REPOSITORY), env_vars=backend.QUIET)
    try:
        current = workspace.stack()
    except automation.CommandError:
        return ""
    return current.name.rsplit("/", 1)[-1] if current else ""


def _in_process(folder: Path) -> Iterator[StackInfo]:
    for path in sorted(folder.glob("*.json")):
        state = State(path)
        yield _info(path.stem, state.config, (state.created, state.updated), len(state.records))


def _of_pulumi(variables: Mapping[str, str]) -> list[StackInfo]:
    """Return the stacks of one backend; raises EngineError where it does not answer."""
    # Heavy, and only for those who have Pulumi.
    from pulumi import automation

    from taxiway.infrastructure.cli import sentences

    workspace = automation.LocalWorkspace(work_dir=str(REPOSITORY), env_vars=dict(variables))
    try:
        summaries = workspace.list_stacks()
        found = [_of_summary(workspace, summary) for summary in summaries]
        # Reading a stack's history selects that stack: the user's choice is put back.
        for summary in summaries:
            if summary.current:
                workspace.select_stack(summary.name)
    except automation.CommandError as error:
        where = variables.get("PULUMI_BACKEND_URL") or backend.own()
        raise EngineError(f"{where} could not be asked: {sentences(str(error))[0]}") from None
    return found


def _of_summary(workspace: automation.LocalWorkspace, summary: automation.StackSummary) -> StackInfo:
    from pulumi import automation

    history = automation.Stack.select(summary.name, workspace).history(show_secrets=False)
    times = (_iso(history[-1].start_time) if history else "", _iso(summary.last_update))
    return _info(summary.name, StackFiles().read(summary.name), times, summary.resource_count or 0)


def _info(name: str, config: Mapping[str, str], times: tuple[str, str], resources: int) -> StackInfo:
    on_emulators = bool(emulator_of(config, "gcp:storageCustomEndpoint"))
    return StackInfo(
        name=name,
        owner=config.get("taxiway:owner", ""),
        target="emulators" if on_emulators else "google-cloud",
        created=times[0],
        updated=times[1],
        resources=resources,
        dollars=0.0 if on_emulators else _dollars(name, config),
    )


def _dollars(name: str, config: Mapping[str, str]) -> float | None:
    """Return the estimated price of a month, None where the settings are not (or no longer) valid."""
    try:
        return total(estimate(plan(name.rsplit("/", 1)[-1], config).resources, prices()))
    except EngineError:
        return None


def _iso(moment: datetime | None) -> str:
    """Return a time in UTC; Pulumi's are without a zone, and in UTC too."""
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds")
