"""Which running components do not answer, since when; and the watchdog that restarts those.

A process that was killed is started again by the process manager, which sees it end. One that hangs (blocked,
stopped, without memory) does not end: it has to be asked.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import requests

from taxiway.airflow.client import AirflowApi
from taxiway.embedded.components import API_SERVER, HEALTH_PATHS, MANAGER, WATCHDOG, components
from taxiway.embedded.postgres import PostgresServer
from taxiway.embedded.supervisor import ManagerError, Supervisor
from taxiway.environment.home import Home, State, read_json, write_json
from taxiway.environment.machine import Machine
from taxiway.environment.ports import hold
from taxiway.errors import PreflightError, TaxiwayError

LOOK_SECONDS = 10.0
# A first request, or one on a machine that is busy, takes this long at most.
ANSWER_SECONDS = 10
# A component that recovers by itself has done so by then; Airflow's own verdict takes 30 s before that.
PATIENCE_SECONDS = 90.0
SILENT_WATCHDOG_SECONDS = 60
DISK = "disk"
# PostgreSQL's log of changes grows by 16 MiB at once.
LEAST_FREE = 32 << 20


def ailing(home: Home, state: State, supervisor: Supervisor, api: AirflowApi) -> dict[str, str]:
    """Sentence by component that runs and does not answer. What only suffers from another one is left out."""
    known = read_json(home.health)
    if supervisor.pid() is None:
        return {MANAGER: "was ended; scripts/up takes over what it has left"}
    try:
        running = {name for name, is_ in supervisor.states().items() if is_ == "RUNNING"}
    except ManagerError:
        return {MANAGER: "does not answer; scripts/up replaces it and goes on"}
    if full := of_the_disk(home.root, Machine.at(home.root).disk):
        return full
    found = {
        name: f"does not answer since {known.get(name) or _now()}"
        for name, well in _answers(home, state, running).items()
        if not well
    }
    # Airflow's parts are judged by heartbeats in the database, which its API server reads.
    if not found.keys() & {"postgres", API_SERVER} and API_SERVER in running:
        found |= {name: text for name, text in api.ailing().items() if name in running}
    if WATCHDOG in running and home.health.exists():
        age = time.time() - home.health.stat().st_mtime
        if age > SILENT_WATCHDOG_SECONDS:
            found[WATCHDOG] = f"does not answer for {age:.0f} s; scripts/up restarts it"
    return found


def of_the_disk(folder: Path, free: int) -> dict[str, str]:
    """What there is to say where nobody can write: a component that does not answer waits for that."""
    if free >= LEAST_FREE:
        return {}
    return {DISK: f"is full: {free >> 20} MiB are free at {folder}; free some, then scripts/run --failed"}


def answers(url: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether a server on the loopback answers well."""
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the user's must not come between us and the loopback
            return session.get(url, timeout=seconds).ok
    except requests.RequestException:
        return False


def _answers(home: Home, state: State, running: set[str]) -> dict[str, bool]:
    """Ask each of the running servers, all at once."""

    def postgres() -> bool:
        server = PostgresServer(home.data("postgres"), state.ports["postgres"])
        return not server.complaint("taxi", home.secret("taxi_database_password"), "taxi")

    with ThreadPoolExecutor() as pool:
        urls = {n: f"http://127.0.0.1:{state.ports[n]}{p}" for n, p in HEALTH_PATHS.items() if n in running}
        waiting = {name: pool.submit(answers, url) for name, url in urls.items()}
        if "postgres" in running:
            waiting["postgres"] = pool.submit(postgres)
        return {name: future.result() for name, future in waiting.items()}


@dataclass
class Watchdog:
    """Looks at the components every few seconds, and restarts one that has not answered for a while.

    What it finds is kept in `Home.health`, the time since when by component: `status` and `run` show it.
    """

    home: Home
    state: State
    supervisor: Supervisor
    api: AirflowApi
    seen: dict[str, float] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)

    def look(self, now: float) -> None:
        """One look; `now` is a monotonic clock's."""
        found = ailing(self.home, self.state, self.supervisor, self.api)
        found.pop(WATCHDOG, None)
        for name in [name for name in self.seen if name not in found]:
            _say(f"{name} answers again")
            self.seen.pop(name), self.since.pop(name)
        for name, sentence in found.items():
            if name not in self.seen:
                _say(f"{name} {sentence}")
                self.seen[name], self.since[name] = now, _now()
        write_json(self.home.health, self.since)
        if MANAGER in found:
            return
        overdue = [name for name, first in self.seen.items() if now - first > PATIENCE_SECONDS]
        for name in overdue:
            _say(f"{name} is restarted")
            self.supervisor.stop_components([name])
            self.seen[name] = now
        # What gave up (its port was taken, the disk was full) is tried again, too.
        states = self.supervisor.states()
        for name in overdue + [name for name, is_ in states.items() if is_ == "FATAL"]:
            self.supervisor.start_component(name)


def _now() -> str:
    return f"{datetime.now(UTC):%H:%M:%S} UTC"


def _say(text: str) -> None:
    sys.stdout.write(f"{_now()} {text}\n")
    sys.stdout.flush()


def main(root: str) -> None:
    """Watch the environment in `root` until ended.

    Without the manager there is nothing to restart with, but what outlives it still sends secrets: the ports
    that the manager held are held here, too, as long as anything else is left.
    """
    home = Home(Path(root))
    state = State.require(home)
    supervisor = Supervisor(home, state.ports["supervisor"])
    held = []
    for port in (port for one in components(home, state.ports) for port in one.ports):
        # One that an earlier release has started shares no port.
        with suppress(PreflightError):
            held.append(hold(port))
    watchdog = Watchdog(home, state, supervisor, AirflowApi(state.api_url, ""))
    while supervisor.pid() is not None:
        before = time.monotonic()
        try:
            watchdog.look(before)
        except (TaxiwayError, OSError) as error:
            _say(str(error))
        time.sleep(LOOK_SECONDS)
        if time.monotonic() - before > PATIENCE_SECONDS:
            # It was stopped itself, or the machine slept: nobody could answer meanwhile.
            watchdog.seen.clear()
            watchdog.since.clear()
    while supervisor.survivors() - {WATCHDOG}:
        time.sleep(LOOK_SECONDS)
    for one in held:
        one.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
