"""Whether everything is there that a start needs, and everything well that a running platform has."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elt.catalogue.registry import DATASETS, PROBLEMS
from elt.connections import EnvironmentConnections
from elt.errors import PipelineError
from taxiway.embedded.health import DISK
from taxiway.environment.home import SAMPLE, Home, State
from taxiway.environment.machine import GIB, Machine
from taxiway.environment.ports import USUAL, is_free
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.loads.failures import failures
from taxiway.targets.target import Checkout

if TYPE_CHECKING:
    from taxiway.targets.target import Target

# A running platform has its memory and its disk; with less than this it cannot go on.
LEAST_DISK = GIB // 2
SOURCE_SECONDS = 10.0


@dataclass(frozen=True)
class Finding:
    """One line: what was checked, whether it is well, what was found, and what to do if it is not."""

    what: str
    well: bool
    detail: str = ""
    remedy: str = ""


Check = tuple[str, Callable[[], str]]
"""A name, and what gives a detail to show or raises TaxiwayError or PipelineError."""


def examine(checkout: Checkout, stack: str, target: str | None, project: str) -> Iterator[Finding]:
    """Check one thing after the other, for a platform that runs or for one that is to be started."""
    home = checkout.home(stack)
    state = State.load(home)
    yield from _findings(_machine(checkout))
    platform = checkout.platform(stack) if state else None
    if platform is None or not platform.running():
        yield from _findings(_start(checkout, state, target, project))
    else:
        yield from _running(platform)


def _findings(checks: Iterator[Check]) -> Iterator[Finding]:
    for what, ask in checks:
        try:
            yield Finding(what, True, ask())
        except TaxiwayError as error:
            yield Finding(what, False, str(error), error.remedy)
        except PipelineError as error:
            yield Finding(what, False, str(error))


def _machine(checkout: Checkout) -> Iterator[Check]:
    yield "Python", lambda: f"{'.'.join(map(str, sys.version_info[:3]))} in {sys.prefix}"
    yield "checkout", lambda: _writable(checkout.folder)
    yield "datasets", _catalogue


def _writable(folder: Path) -> str:
    if not os.access(folder, os.W_OK):
        raise TaxiwayError(f"{folder} is not writable", "Clone it to a folder of your own.")
    return str(folder)


def _catalogue() -> str:
    if PROBLEMS:
        raise TaxiwayError("; ".join(map(str, PROBLEMS)), "Mend the files; until then they are left out.")
    return ", ".join(DATASETS)


# Before a start


def _start(checkout: Checkout, state: State | None, target: str | None, project: str) -> Iterator[Check]:
    yield "memory and disk", lambda: _enough(checkout.folder)
    yield "ports", lambda: _ports(state.ports if state else USUAL)
    if (target or (state.target if state else "")) == "compose":
        yield "Docker", _docker
    if project or (state and not state.emulated):
        yield "pulumi", lambda: _program("pulumi", "Install it: https://www.pulumi.com/docs/install/")
        yield "Google credentials", _credentials
    known = state.source if state else "tlc" if project else SAMPLE
    yield "source", lambda: "generated on this machine" if known == SAMPLE else _source(known)
    yield "platform", lambda: "does not run; start it: scripts/up"


def _enough(folder: Path) -> str:
    machine = Machine.at(folder)
    machine.check()
    return f"{machine.memory / GIB:.1f} GiB of memory and {machine.disk / GIB:.1f} GiB of disk are free"


def _ports(wanted: Mapping[str, int]) -> str:
    taken = [f"{port} ({name})" for name, port in wanted.items() if not is_free(port)]
    # No fault: `up` takes the next free ones.
    return f"taken, others will be used: {', '.join(taken)}" if taken else "all free"


def _docker() -> str:
    from taxiway.compose.prepare import check_engine
    from taxiway.compose.project import Docker

    check_engine(Docker().check())
    return "engine and Compose answer"


def _program(name: str, remedy: str) -> str:
    import shutil

    if not (found := shutil.which(name)):
        raise PreflightError(f"there is no {name} on PATH", remedy)
    return found


def _credentials() -> str:
    from taxiway.infrastructure.environment import check_signed_in, developer

    check_signed_in(impersonation=False)
    return developer() or "found"


def _source(source: str) -> str:
    import requests

    own = {getattr(entry.source, "base_url", "") for entry in DATASETS.values()} - {""}
    for url in sorted({source} if "://" in source else own):
        try:
            requests.head(url, timeout=SOURCE_SECONDS)
        except requests.RequestException as error:
            raise TaxiwayError(
                f"{url} does not answer ({type(error).__name__})",
                "Check the network, or load generated months: scripts/up --source sample",
            ) from None
    return "answers"


# While it runs


def _running(platform: Target) -> Iterator[Finding]:
    home, states, ailing = platform.home, platform.states(), platform.ailing()
    for component in platform.components():
        state = states.get(component.name, "STOPPED")
        sentence = ailing.get(component.name, "" if state == "RUNNING" else f"is {state.lower()}")
        remedy = f"See scripts/logs {component.name}; scripts/up starts it again."
        yield Finding(component.name, not sentence, sentence or "answers", remedy if sentence else "")
    for name in ailing.keys() - {DISK, *(component.name for component in platform.components())}:
        yield Finding(name, False, ailing[name])
    yield from _findings(iter([("disk", lambda: _disk(home))]))
    if ailing:
        # Who asks a store that hangs waits for minutes, to read what is said above.
        return
    yield from _findings(_inside(platform))


def _disk(home: Home) -> str:
    machine = Machine.at(home.root)
    sentence = f"{machine.disk / GIB:.1f} GiB are free at {home.root}"
    if machine.disk < LEAST_DISK:
        raise TaxiwayError(
            f"the disk is full: {sentence}", "Free some; what failed is run again by scripts/run --failed"
        )
    return sentence


def _inside(platform: Target) -> Iterator[Check]:
    api: Any = platform.api
    stores = EnvironmentConnections(platform.home.variables())
    yield "DAGs", lambda: _dags(api)
    yield "lake", lambda: _lake(stores)
    yield "warehouse", lambda: _warehouse(stores)
    if stores.has_postgres:
        yield "Postgres", lambda: _postgres(stores)
    yield "loads", lambda: _loads(api)


def _dags(api: Any) -> str:
    if broken := api.import_errors():
        raise TaxiwayError("; ".join(broken), "Mend the file; Airflow reads it again by itself.")
    dags = api.dags()
    return f"{len(dags)}, {sum(dags.values())} of them paused"


def _lake(stores: EnvironmentConnections) -> str:
    with stores.lake() as lake:
        next(lake.list("raw/"), None)
    return f"gs://{stores.settings.bucket} answers"


def _warehouse(stores: EnvironmentConnections) -> str:
    with stores.warehouse() as warehouse:
        return f"{len(warehouse.tables())} tables and views in {stores.settings.dataset}"


def _postgres(stores: EnvironmentConnections) -> str:
    with stores.postgres() as connection:
        found = connection.execute("SELECT current_setting('server_version')").fetchone()
    return f"PostgreSQL {found[0]}" if found else ""


def _loads(api: Any) -> str:
    if found := failures(api):
        some = ", ".join(dict.fromkeys(str(failure.partition) for failure in found[:5]))
        raise TaxiwayError(
            f"{len(found)} have failed: {some}{', …' if len(found) > 5 else ''}",
            "Why: scripts/status   Again: scripts/run --failed",
        )
    return "none has failed"
