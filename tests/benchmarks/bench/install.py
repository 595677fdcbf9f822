"""What it takes to get from a clone to what the first `scripts/up` needs, with nothing in a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic

import psutil

from bench.measure import MEGABYTE, run
from bench.section import Bench, Section, Target
from taxiway.environment.home import REPOSITORY

_INSTALL = "import sys; sys.path.insert(0, 'scripts'); import _bootstrap; _bootstrap.ensure_environment()"


def install(bench: Bench) -> Section:
    """Clone and install with an empty cache; then install again from the cache that is there now, offline."""
    home = bench.folder / "install"
    shutil.rmtree(home, ignore_errors=True)
    clone, cache = home / "clone", home / "cache"
    started = monotonic()
    subprocess.run(["git", "clone", "-q", REPOSITORY, clone], check=True, timeout=300)
    cloned, received = monotonic() - started, _received()
    variables = {"UV_CACHE_DIR": str(cache), "PIP_NO_CACHE_DIR": "1", "PATH": os.environ["PATH"]}
    whole = run([sys.executable, "-c", _INSTALL], variables, clone)
    received = _received() - received
    # Before the clone's environment is made again, of files that are links to the cache's.
    size = sum(map(_size, (clone / ".venv", clone / ".tools")))
    shutil.rmtree(clone / ".venv")
    again = run([sys.executable, "-c", _INSTALL], {**variables, "UV_OFFLINE": "1"}, clone)
    shutil.rmtree(home)
    seconds = cloned + whole.whole_s
    bench.progress.say(
        f"{seconds:.1f} s, {again.whole_s:.1f} s of them from the cache; {size:,.0f} MB", "done"
    )
    ours = {
        "name": "taxiway, clone and first installation", "role": "ours", "rate": 60 / seconds,
        "cpu_s": whole.cpu_s, "peak_rss_mb": whole.peak_rss_mb, "runs": 1,
        "read_mb": whole.io[0], "written_mb": whole.io[1],
    }  # fmt: skip
    facts = {
        "clone_s": cloned,
        "received_mb_of_the_machine_meanwhile": received,
        "s_of_it_from_the_cache": again.whole_s,
        "s_of_it_for_the_network": whole.whole_s - again.whole_s,
    }
    targets = [
        Target("MB on disk", size, at_most=1300),
        Target("seconds, as fast as this network is", seconds, at_most=40),
    ]
    return Section("installations/min", [ours], targets, facts)


def _received() -> float:
    """MB that the machine has received, from itself left out."""
    counters = psutil.net_io_counters(pernic=True)
    return (
        sum(c.bytes_recv for name, c in counters.items() if not name.startswith(("lo", "docker", "veth")))
        / MEGABYTE
    )


def _size(folder: Path) -> float:
    """MB on disk, a file of several links once."""
    found = {
        (state.st_dev, state.st_ino): state.st_blocks * 512
        for state in (path.lstat() for path in folder.rglob("*"))
    }
    return sum(found.values()) / MEGABYTE
