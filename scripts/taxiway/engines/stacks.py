"""Every environment that this checkout knows, whichever engine made it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from taxiway.engines import backend, stackfile
from taxiway.engines.contract import StackInfo
from taxiway.engines.cost import estimate, prices, total
from taxiway.engines.errors import EngineError
from taxiway.engines.plan import plan
from taxiway.engines.state import State
from taxiway.paths import REPOSITORY


def stacks(folder: Path) -> list[StackInfo]:
    """Return the stacks of the in-process engine and, where `pulumi` is on PATH, of its backends."""
    found = [*_in_process(folder), *(_of_pulumi(folder) if shutil.which("pulumi") else ())]
    return sorted(found, key=lambda stack: stack.name)


def _in_process(folder: Path) -> Iterator[StackInfo]:
    for path in sorted(folder.glob("*.json")):
        state = State(folder, path.stem)
        times = (state.created, state.updated)
        yield _info(path.stem, state.config, times, len(state.records))


def _of_pulumi(folder: Path) -> Iterator[StackInfo]:
    # Heavy, and only for those who have Pulumi.
    from pulumi import automation

    for variables in backend.all_environments(folder):
        workspace = automation.LocalWorkspace(work_dir=str(REPOSITORY), env_vars=variables)
        for summary in workspace.list_stacks():
            history = automation.Stack.select(summary.name, workspace).history(show_secrets=False)
            times = (_iso(history[-1].start_time) if history else "", _iso(summary.last_update))
            yield _info(summary.name, stackfile.read(summary.name), times, summary.resource_count or 0)


def _info(name: str, config: Mapping[str, str], times: tuple[str, str], resources: int) -> StackInfo:
    on_emulators = config.get("gcp:storageCustomEndpoint", "").startswith("http://")
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
    """Return the estimated price of a month, nothing where the settings are not (or no longer) valid."""
    try:
        return total(estimate(plan(name.rsplit("/", 1)[-1], config).resources, prices()))
    except EngineError:
        return None


def _iso(moment: datetime | None) -> str:
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds")
