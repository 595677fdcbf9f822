"""What is measured: a command as a whole, from outside, and several that do the same work in turn.

Of a command it is seconds, CPU seconds and peak memory, its children included. Contestants take turns in
random order, and the result of each run is checked.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import select
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal, Self

import psutil

from taxiway.airflow.environment import clean_environment
from taxiway.console.progress import Progress

MEGABYTE = 1e6
# A contestant that takes longer than this is stopped and counts as failed.
PATIENCE = 900.0
_SAMPLE = 0.01
Role = Literal["ours", "limit", "peer", "note"]
# MB that read and write have moved; what is sent and received by socket calls of their own is not in it.
Io = tuple[float, float]


class CommandFailedError(Exception):
    """A command ended badly; the message is the last line that it printed."""


class WrongResultError(Exception):
    """A result is not what the work should have come to."""


@dataclass(frozen=True)
class Run:
    """One run. `seconds` is what the command itself reports for its work, else all of it (`whole_s`).

    `report` is the JSON object in the last line of its output; empty if there is none.
    """

    seconds: float
    whole_s: float
    cpu_s: float
    peak_rss_mb: float
    private_mb: float
    report: Mapping[str, Any]
    io: Io = (0.0, 0.0)


def run(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Run:
    """Run to the end; CommandFailedError if it fails or takes longer than PATIENCE."""
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
            moved = _wait(process)
        whole = monotonic() - started
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    if process.returncode:
        raise CommandFailedError((text.splitlines() or [""])[-1][:300] or f"exit code {process.returncode}")
    report = _report(text)
    cpu = _children_cpu() - before
    peaks = (memory.peak / MEGABYTE, memory.private / MEGABYTE)
    return Run(float(report.get("seconds", whole)), whole, cpu, *peaks, report, moved)


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


def io_of_tree(pid: int) -> Io:
    """What a process and its children have read and written, those that have ended included."""
    found = [_io(member) for member in _tree(pid)]
    return sum(read for read, _ in found), sum(written for _, written in found)


def used(servers: Sequence[int]) -> tuple[float, float, float]:
    """CPU seconds, MB read and MB written by process trees so far."""
    moved = [io_of_tree(pid) for pid in servers]
    return (
        sum(map(cpu_of_tree, servers)),
        sum(read for read, _ in moved),
        sum(written for _, written in moved),
    )


def _io(pid: int) -> Io:
    """Of a process, its ended children included; nothing on macOS, or of one that has gone."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    values = {name: int(value) / MEGABYTE for name, _, value in (line.partition(": ") for line in lines)}
    return values["rchar"], values["wchar"]


def _wait(process: subprocess.Popen[bytes]) -> Io:
    """Wait for the end; returns what it has read and written, which the kernel forgets with the process."""
    try:
        if Path("/proc/self/io").exists():
            watched = os.pidfd_open(process.pid)
            try:
                if not select.select([watched], [], [], PATIENCE)[0]:
                    raise subprocess.TimeoutExpired(process.args, PATIENCE)
            finally:
                os.close(watched)
        moved = _io(process.pid)
        process.wait(PATIENCE)
    except BaseException as error:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CommandFailedError(f"not done after {PATIENCE:.0f} s") from None
        raise
    return moved


class Sampler:
    """A thread that calls `sample` every `seconds`, until its context is left."""

    seconds = 1.0

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def sample(self) -> None:
        """Look once."""
        raise NotImplementedError

    def _watch(self) -> None:
        while not self._over.wait(self.seconds):
            self.sample()


class _Memory(Sampler):
    """Samples a process tree: the largest sum of its members' memory at one moment, shared pages once.

    The kernel's own peak of a member counts, too: a short one falls between two samples.
    """

    seconds = _SAMPLE

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._pid, self.peak = pid, 0
        self._own: dict[int, int] = {}
        self._members, self._samples = [pid], 0

    @property
    def private(self) -> int:
        """Pages that the process which was started last shares with none: a task's, without its worker's."""
        return next(reversed(self._own.values()), 0)

    def sample(self) -> None:
        """Look at the members once; at who they are, every tenth time."""
        # Listing a tree reads all of /proc: ten times dearer than its members' figures.
        if self._samples % 10 == 0:
            self._members = _tree(self._pid)
            mapped = {pid: _mapped(pid) for pid in self._members}
            self.peak = max(self.peak, sum(values.get("Pss", 0) for values in mapped.values()))
            for pid, values in mapped.items():
                own = values.get("Private_Clean", 0) + values.get("Private_Dirty", 0)
                self._own[pid] = max(self._own.get(pid, 0), own)
        self._samples += 1
        found = [_memory(pid) for pid in self._members]
        alone = sum(now for now, _ in found) if len(self._members) == 1 else 0
        self.peak = max([self.peak, alone, *(highest for _, highest in found)])


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


def _mapped(pid: int) -> dict[str, int]:
    """Bytes of a process by kind, as Linux tells; nothing elsewhere, or of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def _report(text: str) -> Mapping[str, Any]:
    for line in text.splitlines()[-1:]:
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            return found if isinstance(found, dict) else {}
    return {}


@dataclass(frozen=True)
class Contestant:
    """One way of doing the work; `amount` of it (rows, bytes) in one run.

    `check` raises WrongResultError if the result is not as it should be. `servers` are the processes that
    work for it. A *note* is shown and compared with nothing.
    """

    name: str
    role: Role
    command: Sequence[str | Path]
    amount: float
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    check: Callable[[Run], None] = lambda _: None
    servers: Sequence[int] = ()


@dataclass
class Result:
    """The runs of a contestant; `failure` is why there are none, or not all."""

    contestant: Contestant
    runs: list[Run] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    io: list[Io] = field(default_factory=list)
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        """The figures: medians, with the extremes of the rate (amount a second)."""
        found: dict[str, Any] = {"name": self.contestant.name, "role": self.contestant.role}
        if self.failure:
            found["failed"] = self.failure
        if not self.runs:
            return found
        amount = self.contestant.amount
        rates = [amount / run.seconds for run in self.runs]
        return found | {
            "rate": statistics.median(rates),
            "rate_min": min(rates),
            "rate_max": max(rates),
            "whole_rate": statistics.median(amount / run.whole_s for run in self.runs),
            "cpu_s": statistics.median(run.cpu_s for run in self.runs),
            "server_cpu_s": statistics.median(self.server),
            "peak_rss_mb": max(run.peak_rss_mb for run in self.runs),
            "private_mb": max(run.private_mb for run in self.runs),
            "read_mb": statistics.median(read for read, _ in self.io),
            "written_mb": statistics.median(written for _, written in self.io),
            "amount": amount,
            "runs": len(self.runs),
        }


def race(contestants: Sequence[Contestant], n: int, seed: int, progress: Progress) -> list[Result]:
    """Let each do the work `n` times, all in each round, in an order that is new every time.

    One that fails is left out of the rounds that follow.
    """
    order, results = random.Random(seed), [Result(contestant) for contestant in contestants]
    for number in range(n):
        for result in order.sample(results, len(results)):
            if not result.failure:
                _one(result, f"{number + 1}/{n}", progress)
    return results


def _one(result: Result, number: str, progress: Progress) -> None:
    contestant = result.contestant
    try:
        contestant.prepare()
        before = used(contestant.servers)
        done = run(contestant.command, contestant.environment)
        server, read, written = (
            after - start for after, start in zip(used(contestant.servers), before, strict=True)
        )
        contestant.check(done)
    except (CommandFailedError, WrongResultError, OSError) as error:
        result.failure = str(error)
        progress.say(f"{number}  {contestant.name:42} {error}", "failed", style="red")
        return
    result.runs.append(done)
    result.server.append(server)
    result.io.append((done.io[0] + read, done.io[1] + written))
    rate = contestant.amount / done.seconds
    progress.say(f"{number}  {contestant.name:42} {done.seconds:7.2f} s {rate:14,.0f}/s", "done")
