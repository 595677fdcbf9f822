"""A command as a whole, from outside: seconds, CPU seconds and peak memory of it and all its children."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from taxiway.airflow.environment import clean_environment

MEGABYTE = 1e6
# A contestant that takes longer than this is stopped and told as failed.
PATIENCE = 900.0
_SAMPLE = 0.01


class CommandFailed(Exception):  # noqa: N818 - it says what happened
    """A command that ended badly, with its last words."""


@dataclass(frozen=True)
class Run:
    """One run. `seconds` is what the command itself says its work took, else all of it (`whole_s`).

    `said` is the JSON object in the last line of its output; empty where there is none.
    """

    seconds: float
    whole_s: float
    cpu_s: float
    peak_rss_mb: float
    said: Mapping[str, Any]


def run(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Run:
    """Run to the end; CommandFailed where it fails or takes too long."""
    before = _children_cpu()
    with tempfile.TemporaryFile() as output:
        started = monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**clean_environment(), **(environment or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        with _Memory(process.pid) as memory:
            _wait(process)
        whole = monotonic() - started
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    if process.returncode:
        raise CommandFailed(_last_words(text) or f"exit code {process.returncode}")
    said = _said(text)
    cpu = _children_cpu() - before
    return Run(float(said.get("seconds", whole)), whole, cpu, memory.peak / MEGABYTE, said)


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process and its children, those that have ended included."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(PATIENCE)
    except BaseException as error:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CommandFailed(f"not done after {PATIENCE:.0f} s") from None
        raise


class _Memory:
    """Watches a process tree: the largest sum of its members' resident memory at one moment.

    The kernel's own peak of a member counts too: a short one falls between two looks.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._over, self.peak = pid, threading.Event(), 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        members, looks = [self._pid], 0
        while not self._over.wait(_SAMPLE):
            if looks % 10 == 0:
                members = _tree(self._pid)
            looks += 1
            found = [_memory(pid) for pid in members]
            together = sum(now for now, _ in found)
            self.peak = max([self.peak, together, *(highest for _, highest in found)])


def _tree(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return [pid]


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process now and at their highest; nothing of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return int(values.get("VmRSS", 0)) * 1024, int(values.get("VmHWM", 0)) * 1024


def _last_words(text: str) -> str:
    return (text.splitlines() or [""])[-1][:300]


def _said(text: str) -> Mapping[str, Any]:
    for line in reversed(text.splitlines()[-1:]):
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            return said if isinstance(said, dict) else {}
    return {}
