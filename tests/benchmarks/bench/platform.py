"""The whole platform, started and taken down by its own commands, as a stack of the benchmark's own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from bench.measure import MEGABYTE, CommandFailedError, Run, cpu_of_tree
from bench.measure import run as run_once
from taxiway.console.progress import Progress
from taxiway.environment.home import Home
from taxiway.targets.target import Checkout
from taxiway.waiting import run

if TYPE_CHECKING:
    from taxiway.targets.target import Target

STACK = "bench"
HOME = Home.of(STACK)
# The lines in which `up` reports what it has done, and how long that took.
_PHASE = re.compile(r"^\s*(?P<at>[\d.]+) s\s+✓ (?P<name>.+?) \((?P<seconds>[\d.]+) s\)$", re.MULTILINE)
_TASK = re.compile(r"^\S+( \d{4}-\d\d)?\s+(lake|warehouse|postgres)\s")
_DONE = re.compile(r"^\s*([\d.]+) s\s+✓ done in", re.MULTILINE)


@dataclass(frozen=True)
class Started:
    """One start: seconds in all, by phase, and until Airflow was ready for its first run."""

    seconds: float
    phases: Mapping[str, float]
    cpu_s: float
    memory_mb: float


def command(name: str, *arguments: str) -> tuple[str, Run]:
    """Run a command of the platform for this stack; returns what it printed, and the figures."""
    output = HOME.root.parent / "_bench" / f"{name}.log"
    output.parent.mkdir(parents=True, exist_ok=True)
    # A failed command is reported with its last line, so the log's end has to be the output's.
    script = f'"$0" "$@" > "{output}" 2>&1 || {{ tail -n 2 "{output}"; exit 1; }}'
    words: list[str | Path] = ["sh", "-c", script, sys.executable, "-m", "taxiway", name]
    done = run_once([*words, *arguments, "--stack", STACK], {"COLUMNS": "200", "PATH": os.environ["PATH"]})
    return output.read_text(), done


def answer(name: str, *arguments: str) -> Any:
    """What a command prints as JSON, without what it says beside on standard error."""
    done = run([sys.executable, "-m", "taxiway", name, *arguments, "--stack", STACK], seconds=600)
    if done.returncode:
        raise CommandFailedError(done.stderr.strip()[-300:])
    return json.loads(done.stdout)


def manager() -> psutil.Process:
    """The process manager of the environment that is up."""
    return psutil.Process(int((HOME.root / "supervisord.pid").read_text()))


def up(*arguments: str) -> Started:
    """Start the platform and load the first months."""
    text, done = command("up", *arguments)
    phases = {
        found["name"]: float(found["seconds"])
        for found in _PHASE.finditer(text)
        if not _TASK.match(found["name"])
    }
    ready = max((float(f["at"]) for f in _PHASE.finditer(text) if not _TASK.match(f["name"])), default=0.0)
    finished = float(found[1]) if (found := _DONE.search(text)) else done.whole_s
    return Started(done.whole_s, {**phases, "first months": finished - ready}, *_use())


def down(*arguments: str) -> float:
    """Take it down; returns the seconds."""
    return command("down", *arguments)[1].whole_s


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Target]:
    """The platform, up, with the first months loaded; gone afterwards."""
    up(*arguments)
    try:
        yield environment()
    finally:
        down()


def environment() -> Target:
    """The environment that is up."""
    return Checkout().platform(STACK, Progress())


def _use() -> tuple[float, float]:
    """CPU seconds so far, and memory now (shared pages counted once), of everything that was started."""
    root = manager()
    memory = 0
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error, AttributeError):
            memory += process.memory_full_info().pss
    return cpu_of_tree(root.pid), memory / MEGABYTE
