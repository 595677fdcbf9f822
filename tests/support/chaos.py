"""Chaos: months load and a reader reads while processes are killed and stopped at random.

    python tests/support/chaos.py --kills 200 --stops 20        some hours, on a platform of its own
    python tests/support/chaos.py --kills 10 --stops 1 --longest 60 --seed 7

What is killed (`kill -9`): any process of the platform, now and then the process manager, or all of them at
once. What is stopped (`SIGSTOP`) is left so. A user does what the commands advise: call `scripts/up`
when the manager is gone, and `scripts/run` again. In the end every store has to hold what it held before, and
`scripts/down` to leave nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from checkout import Checkout, make_checkout

from elt import status as report
from elt.connections import EnvironmentConnections
from taxiway.embedded.supervisor import Supervisor
from taxiway.environment.home import Home, State

MONTHS = "2024-01..2024-02"
WAREHOUSE = ("yellow_trips", "zones", "daily_zone_revenue", "hourly_demand")
TREE, MANAGER, ANY, STOP = "whole tree", "process manager", "any", "stop"
# One in so many kills is of the whole tree at once, and one of the process manager; the first two are.
EVERY = 12
# Seconds between two attacks: less than a load takes, so that they meet it everywhere.
PAUSE = (1.0, 12.0)
COMMAND_SECONDS = 1800


@dataclass
class Figures:
    """What was done, and what came of it; `wrong` has to stay empty."""

    seed: int
    killed: Counter[str] = field(default_factory=Counter)
    whole_trees: int = 0
    stopped: Counter[str] = field(default_factory=Counter)
    ups: list[float] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    restarts_by_watchdog: int = 0
    minutes: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def text(self) -> str:
        """As JSON, the seconds of `up` summed up."""
        ups = {"count": len(self.ups)}
        if self.ups:
            ups |= {"median_s": round(median(self.ups)), "max_s": round(max(self.ups))}
        return json.dumps({**vars(self), "ups": ups}, indent=2)


class Reader(threading.Thread):
    """Counts a month in Postgres without end: an answer is all of it, or no answer."""

    def __init__(self, checkout: Checkout, rows: int) -> None:
        super().__init__(daemon=True)
        self.checkout, self.rows = checkout, rows
        self.ended, self.seen = threading.Event(), Counter[str]()

    def run(self) -> None:
        while not self.ended.wait(1):
            try:
                with self.checkout.connections.postgres() as connection:
                    query = "SELECT count(*) FROM yellow_trips WHERE tpep_pickup_datetime < '2024-02-01'"
                    (count,) = connection.execute(query).fetchone() or (0,)
            except Exception:  # whatever a client says when its server dies
                self.seen["no answer"] += 1
            else:
                self.seen["whole" if count == self.rows else f"{count} instead of {self.rows} rows"] += 1


def fingerprint(connections: EnvironmentConnections) -> dict[str, Any]:
    """All there is in the stores, without times: objects with their checksums, rows of tables, states."""
    tables = dict[str, Any]()
    with connections.postgres() as connection:
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
        ).fetchall():
            if not name.startswith(("pg_", "sql_")):
                query = f'SELECT count(*), sum(hashtext(t::text)::bigint) FROM "{name}" t'
                tables[name] = [str(value) for value in connection.execute(query.encode()).fetchone() or ()]
    settings = connections.settings
    with connections.storage_client() as client:
        blobs = [blob for blob in client.list_blobs(settings.bucket) if not blob.name.startswith("logs/")]
        objects = {blob.name: blob.md5_hash for blob in blobs}
    select = """
    SELECT COUNT(*) AS found, TO_HEX(MD5(STRING_AGG(j, '|' ORDER BY j))) AS digest
    FROM (SELECT TO_JSON_STRING(t) AS j FROM `{}.{}` AS t)
    """
    with connections.warehouse() as opened:
        warehouse = {
            name: list(opened.query(select.format(settings.dataset, name), {}, {})) for name in WAREHOUSE
        }
    # The sample source's port may be another one after a restart.
    changing = dict.fromkeys(("loaded_at", "run_id", "source"))
    rows = {str((row["dataset"], row["period"])): {**row, **changing} for row in report.status(connections)}
    return {"postgres": tables, "warehouse": warehouse, "objects": objects, "months": rows}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is in only one of two fingerprints, or other there."""
    return [
        f"{store} {name}: {content.get(name)} became {after[store].get(name)}"
        for store, content in before.items()
        for name in sorted(content.keys() | after[store].keys())
        if content.get(name) != after[store].get(name)
    ]


@dataclass
class Chaos:
    """One run of it in a checkout where nothing runs yet."""

    checkout: Checkout
    seed: int
    longest: float

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.figures = Figures(self.seed)
        self.home = Home(self.checkout.home)
        self.stopped: dict[psutil.Process, float] = {}
        self.load: subprocess.Popen[str] | None = None

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.checkout.folder / "scripts" / name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, cwd="/")

    def up(self) -> None:
        """As a user: until it says that all is well."""
        for attempt in range(3):
            begun = time.monotonic()
            done = self.command("up")
            self.figures.ups.append(time.monotonic() - begun)
            self.say(f"up: exit code {done.returncode} after {self.figures.ups[-1]:.0f} s")
            if done.returncode == 0:
                return
            self.figures.wrong.append(f"up, attempt {attempt + 1}: {done.stderr[-400:]}")
        raise RuntimeError("the platform does not come up")

    def say(self, text: str) -> None:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def attack(self, kills: int, stops: int) -> None:
        """Kill and stop so often, then compare."""
        begun = time.monotonic()
        self.up()
        before = fingerprint(self.checkout.connections)
        january = next(row for key, row in self.checkout.datasets().items() if key == ("yellow", "2024-01"))
        reader = Reader(self.checkout, january["postgres_rows"])
        reader.start()
        special = [TREE, MANAGER] * -(-kills // EVERY)
        plan = special[2:] + [ANY] * (kills - len(special)) + [STOP] * stops
        self.random.shuffle(plan)
        for deed in special[:2] + plan:
            self.keep_loading()
            time.sleep(self.random.uniform(*PAUSE))
            self.stop() if deed == STOP else self.kill(deed)
            self.wake()
            if self.supervisor.pid() is None:
                self.end_load()
                self.up()
        while self.stopped:
            time.sleep(1)
            self.wake()
        self.end_load()
        self.up()
        last = self.command("run", "yellow", MONTHS, "zones")
        if last.returncode:
            self.figures.wrong.append(f"the last run: {last.stderr[-400:]}")
        reader.ended.set()
        reader.join()
        self.figures.reads = reader.seen
        self.figures.wrong += [answer for answer in reader.seen if answer not in ("whole", "no answer")]
        self.figures.wrong += differences(before, fingerprint(self.checkout.connections))
        log = self.home.logs / "watchdog.log"
        self.figures.restarts_by_watchdog = log.read_text().count("is restarted") if log.exists() else 0
        down = self.command("down")
        if down.returncode or self.checkout.processes():
            self.figures.wrong.append(f"down: {down.stderr[-400:]} {self.checkout.processes()}")
        self.figures.minutes = round((time.monotonic() - begun) / 60, 1)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.home, State.require(self.home).ports["supervisor"])

    def keep_loading(self) -> None:
        """Load the months again and again, in a command that may end as it likes."""
        if self.load and self.load.poll() is not None:
            self.figures.runs[f"exit code {self.load.returncode}"] += 1
            self.load = None
        if self.load is None:
            command = [str(self.checkout.folder / "scripts" / "run"), "yellow", MONTHS, "zones", "--force"]
            self.load = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd="/"
            )

    def end_load(self) -> None:
        """The command notices by itself that nobody manages the processes any more; nobody waits for that."""
        if self.load:
            self.load.terminate()
            self.figures.runs["ended by the user"] += 1
            self.load.wait()
            self.load = None

    def victims(self) -> dict[str, list[psutil.Process]]:
        """What runs, by component: PostgreSQL and the scheduler have more processes than all others."""
        found = dict[str, list[psutil.Process]]()
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                # Not `strays`: it knows only the programs of the environment that it runs in itself.
                if Path(process.cwd()).is_relative_to(self.checkout.home.resolve()):
                    found.setdefault(self.component(process), []).append(process)
        return found

    def one_of(self, victims: dict[str, list[psutil.Process]], whom: str) -> tuple[str, psutil.Process]:
        """A process of that component, or of any if there is none of it."""
        name = whom if whom in victims else self.random.choice(sorted(victims))
        return name, self.random.choice(victims[name])

    def kill(self, whom: str) -> None:
        victims = self.victims()
        if whom == TREE:
            self.figures.whole_trees += 1
        else:
            name, process = self.one_of(victims, whom)
            victims = {name: [process]}
        processes = [(name, process) for name, some in victims.items() for process in some]
        for name, process in processes:
            with suppress(psutil.Error):
                process.kill()
                self.figures.killed[name] += 1
                self.say(f"kill {name} ({process.pid})")
        # For a moment, what was killed is still seen, the manager too.
        psutil.wait_procs([process for _, process in processes], timeout=5)

    def stop(self) -> None:
        name, process = self.one_of(self.victims(), ANY)
        with suppress(psutil.Error):
            self.figures.stopped[name] += 1
            self.say(f"stop {name} ({process.pid})")
            process.suspend()
            self.stopped[process] = time.monotonic() + self.random.uniform(self.longest / 10, self.longest)

    def wake(self) -> None:
        """Continue what was stopped for long enough; something else may have ended it before."""
        for process, until in list(self.stopped.items()):
            if time.monotonic() > until or not process.is_running():
                with suppress(psutil.Error):
                    process.resume()
                del self.stopped[process]

    def component(self, process: psutil.Process) -> str:
        if process.pid == self.supervisor.pid():
            return MANAGER
        return Path(process.cwd()).name


def main(arguments: list[str]) -> int:
    """Attack a platform of its own; 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument(
        "--longest", type=float, default=600, help="seconds that something is stopped at most"
    )
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="taxiway-chaos-"))
    chaos = Chaos(make_checkout(folder), chosen.seed, chosen.longest)
    try:
        chaos.attack(chosen.kills, chosen.stops)
    except Exception:
        chaos.figures.wrong.append(traceback.format_exc())
    finally:
        for processes in chaos.victims().values():
            for process in processes:
                with suppress(psutil.Error):
                    process.kill()
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(chaos.figures.text() + "\n")
    return 1 if chaos.figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
