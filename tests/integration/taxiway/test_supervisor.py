"""The real process manager: killed, hung, or replaced by a stranger; and the watchdog beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest
from psycopg.conninfo import make_conninfo

from elt.connection_fields import ConnectionFields, postgres_parameters
from stacks import free_port
from taxiway.airflow.client import AirflowApi
from taxiway.airflow.environment import postgres_connection
from taxiway.embedded.components import WATCHDOG, Component, components
from taxiway.embedded.health import PATIENCE_SECONDS, Watchdog, ailing, answers
from taxiway.embedded.postgres import PostgresServer
from taxiway.embedded.supervisor import ManagerError, Supervisor
from taxiway.environment import secrets
from taxiway.environment.home import Home, State, write_json
from taxiway.environment.ports import CLOSING, USUAL, hold, listen
from taxiway.errors import PreflightError

# Answers every GET, as an emulator's health check does.
SERVER = """
import http.server, sys
from taxiway.environment.ports import listen
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
server.socket = listen("127.0.0.1", int(sys.argv[1]))
server.serve_forever()
"""
# Ends at once as often as the file says, as PostgreSQL does beside what a kill has left.
STUBBORN = """
import pathlib, sys, time
file = pathlib.Path(sys.argv[1]); left = int(file.read_text()); file.write_text(str(left - 1))
sys.exit(1) if left else time.sleep(1000)
"""


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.fixture
def state() -> State:
    return State({name: free_port() for name in USUAL})


@pytest.fixture
def supervisor(tmp_path: Path, state: State) -> Iterator[Supervisor]:
    home = Home.of("local", tmp_path)
    state.save(home)
    secrets.generate(home.secrets)
    made = Supervisor(home, state.ports["supervisor"], answer_seconds=3)
    yield made
    made.end_strays()


def start(supervisor: Supervisor, state: State) -> None:
    python, port = sys.executable, str(state.ports["gcs"])
    serving, stubborn, counter = (supervisor.home.root / name for name in ("s.py", "t.py", "failures"))
    serving.write_text(SERVER)
    stubborn.write_text(STUBBORN)
    counter.write_text("2")
    supervisor.start(
        [
            Component("gcs", [python, str(serving), port], ports=(int(port),)),
            Component("stubborn", [python, str(stubborn), str(counter)]),
            Component(WATCHDOG, [python, "-m", "taxiway.embedded.health", str(supervisor.home.root)]),
        ]
    )
    supervisor.start_component("gcs")
    until(lambda: answers(f"http://127.0.0.1:{port}/", 3))


def manager(supervisor: Supervisor) -> psutil.Process:
    pid = supervisor.pid()
    assert pid
    return psutil.Process(pid)


def server(supervisor: Supervisor, port: int) -> psutil.Process:
    for process in supervisor.strays():
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections()):
            return process
    pytest.fail("nobody listens")


def test_what_a_killed_manager_has_left_is_named_and_makes_room_for_the_next(
    supervisor: Supervisor, state: State
) -> None:
    start(supervisor, state)
    manager(supervisor).kill()
    until(lambda: supervisor.pid() is None)
    assert supervisor.survivors() == {"gcs"}
    assert supervisor.listens(state.ports["gcs"])
    api = AirflowApi(state.api_url, "")
    assert "scripts/up" in ailing(supervisor.home, state, supervisor, api)["process manager"]
    assert len(supervisor.end_strays()) == 1
    assert supervisor.survivors() == set()
    start(supervisor, state)
    until(lambda: supervisor.states()["gcs"] == "RUNNING")


def test_a_manager_that_hangs_is_known_from_one_that_runs_and_is_ended_with_the_others(
    supervisor: Supervisor, state: State
) -> None:
    start(supervisor, state)
    manager(supervisor).suspend()
    assert supervisor.pid()
    assert not supervisor.answers()
    api = AirflowApi(state.api_url, "")
    assert "does not answer" in ailing(supervisor.home, state, supervisor, api)["process manager"]
    assert len(supervisor.end_strays(seconds=1)) == 2
    assert supervisor.pid() is None


def test_a_process_that_ends_at_once_is_started_again_before_it_is_given_up(
    supervisor: Supervisor, state: State
) -> None:
    start(supervisor, state)
    supervisor.start_component("stubborn")
    until(lambda: supervisor.states()["stubborn"] == "RUNNING")
    assert (supervisor.home.root / "failures").read_text() == "-1"


def test_a_component_of_a_newer_release_is_learnt_by_the_manager_that_runs(
    supervisor: Supervisor, state: State
) -> None:
    start(supervisor, state)
    before = supervisor.pid()
    supervisor.start([Component("new", ["sleep", "100"])])
    supervisor.start_component("new")
    assert supervisor.states()["new"] in ("STARTING", "RUNNING")
    assert supervisor.pid() == before


def test_what_hangs_is_reported_since_when_and_restarted(supervisor: Supervisor, state: State) -> None:
    start(supervisor, state)
    first = server(supervisor, state.ports["gcs"])
    watchdog = Watchdog(supervisor.home, state, supervisor, AirflowApi(state.api_url, ""))
    # It may answer in its first second, in which nobody judges it yet.
    until(lambda: supervisor.states()["gcs"] == "RUNNING")
    watchdog.look(0)
    assert watchdog.since == {}
    first.suspend()
    watchdog.look(1)
    since = watchdog.since["gcs"]
    watchdog.look(2 + PATIENCE_SECONDS / 2)
    assert first.is_running(), "it may get well by itself"
    found = ailing(supervisor.home, state, supervisor, watchdog.api)
    assert found == {"gcs": f"does not answer since {since}"}
    watchdog.look(2 + PATIENCE_SECONDS)
    until(lambda: answers(f"http://127.0.0.1:{state.ports['gcs']}/", 3))
    assert not first.is_running()
    watchdog.look(3 + PATIENCE_SECONDS)
    assert watchdog.since == {}


@contextmanager
def squatter(port: int) -> Iterator[Callable[[], bool]]:
    """Another user of this machine, who tries without end to have a port; whether he has it."""
    pid = os.fork()
    if not pid:
        squat(port)
    try:
        yield lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def squats(port: int) -> bool:
    """Whether he has it if he tries once."""
    pid = os.fork()
    if not pid:
        squat(port, tries=1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def squat(port: int, tries: int = sys.maxsize) -> NoReturn:
    """End well as soon as a socket listens where clients look for the port."""
    os.setgid(65534)
    os.setuid(65534)
    v4, v6 = socket.AF_INET, socket.AF_INET6
    places = (v4, "127.0.0.1"), (v4, "0.0.0.0"), (v6, "::ffff:127.0.0.1"), (v6, "::")
    reuse = socket.SO_REUSEADDR, socket.SO_REUSEPORT
    for _ in range(tries):
        for options in ((), *((one,) for one in reuse), reuse):
            for family, host in places:
                with suppress(OSError), socket.socket(family) as one:
                    if family == v6:
                        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    for option in options:
                        one.setsockopt(socket.SOL_SOCKET, option, 1)
                    one.bind((host, port))
                    one.listen()
                    os._exit(0)
        time.sleep(0.001)
    os._exit(1)


@pytest.mark.skipif(os.geteuid() != 0, reason="a second account to attack from needs root")
def test_no_other_user_gets_the_port_of_a_crashed_component(supervisor: Supervisor, state: State) -> None:
    start(supervisor, state)
    port = state.ports["gcs"]
    with squatter(port) as has_it:
        for _ in range(3):
            crashed = server(supervisor, port)
            until(lambda: supervisor.states()["gcs"] == "RUNNING")
            crashed.kill()
            crashed.wait()
            # Nor does the holder itself answer anybody.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 1)
            until(lambda: answers(f"http://127.0.0.1:{port}/", 3))
        assert not has_it()
        supervisor.stop()
        until(has_it)


@pytest.mark.skipif(os.geteuid() != 0, reason="a second account to attack from needs root")
def test_nor_one_that_crashes_after_the_manager_was_killed(supervisor: Supervisor, state: State) -> None:
    start(supervisor, state)
    port = state.ports["gcs"]
    supervisor.start_component(WATCHDOG)
    until(supervisor.home.health.exists)
    # Whatever else outlives the manager: when nothing does, nobody holds a port any more.
    supervisor.start_component("stubborn")
    until(lambda: supervisor.states()["stubborn"] == "RUNNING")
    manager(supervisor).kill()
    until(lambda: supervisor.pid() is None)
    crashed = server(supervisor, port)
    crashed.kill()
    crashed.wait()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    assert not squats(port)
    supervisor.end_strays()
    assert squats(port)


@pytest.mark.skipif(os.geteuid() != 0, reason="a second account to attack from needs root")
def test_nor_any_port_of_the_real_services_while_they_are_stopped(
    supervisor: Supervisor, state: State
) -> None:
    write_json(supervisor.home.own_credentials, {})
    real = [c for c in components(supervisor.home, state.ports) if c.health and c.name != "api-server"]
    assert {"gcs", "bigquery", "control-plane", "sample-source", "google-tokens"} == {c.name for c in real}
    supervisor.start(real)
    for component in real:
        supervisor.start_component(component.name)
    for component in real:
        until(lambda url=component.health: answers(url, 3))  # type: ignore[misc]
    ports = [port for component in real for port in component.ports]
    assert len(ports) == len(real) + 1, "the warehouse has two"
    supervisor.stop_components(component.name for component in real)
    assert [supervisor.listens(port) for port in ports] == [False] * len(ports)
    assert [port for port in ports if squats(port)] == []


def test_a_second_service_does_not_share_a_port(supervisor: Supervisor, state: State) -> None:
    start(supervisor, state)
    with pytest.raises(OSError, match="Address already in use"):
        listen("127.0.0.1", state.ports["gcs"])


def test_a_port_that_somebody_took_is_not_held() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(PreflightError, match="is taken by another program now"),
    ):
        hold(taken.getsockname()[1])


def test_whoever_waits_for_a_port_hears_for_what_and_how_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as served:
        port = served.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, served.accept()[0] as accepted:
            # Who closes first keeps the port for a minute.
            accepted.close()
            client.recv(1)
    now, said = [0.0], list[str]()
    closing = replace(
        CLOSING, clock=lambda: now[0], sleep=lambda _: now.append(now.pop() + 1), remind=said.append
    )
    with pytest.raises(PreflightError):
        hold(port, closing)
    line = f"still waiting: earlier connections of port {port} are closing, for 70 s at most"
    assert said[0] == line
    assert 2 < len(said) < 7


@pytest.fixture
def stranger(state: State) -> Iterator[list[bytes]]:
    """Somebody else's server on every port of the environment, and what it was sent."""
    heard = list[bytes]()
    servers = [socket.create_server(("127.0.0.1", port)) for port in state.ports.values()]

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                client.settimeout(2)
                # As PostgreSQL: no TLS, and then the password as it is. To HTTP it is nonsense.
                for reply in (b"N", b"R\x00\x00\x00\x08\x00\x00\x00\x03", b""):
                    with suppress(OSError):
                        heard.append(client.recv(65536))
                        client.sendall(reply)

    for one in servers:
        threading.Thread(target=serve, args=(one,), daemon=True).start()
    yield heard
    for one in servers:
        one.shutdown(socket.SHUT_RDWR)
        one.close()


def test_a_component_that_is_declared_otherwise_gets_its_new_command_and_no_other_is_touched(
    supervisor: Supervisor, state: State
) -> None:
    """As after an upgrade of a platform that runs: its emulators then ask for a token."""

    def pids() -> dict[str, int]:
        return {info["name"]: info["pid"] for info in supervisor._call("getAllProcessInfo")}

    waiting = [sys.executable, "-c", "import time; time.sleep(1000)"]
    same = Component("same", waiting)
    supervisor.start([same, Component("gcs", waiting)])
    for name in ("same", "gcs"):
        supervisor.start_component(name)
    until(lambda: set(supervisor.states().values()) == {"RUNNING"})
    before = pids()
    supervisor.start([same, Component("gcs", [*waiting, "--token-file"])])
    supervisor.start_component("gcs")
    until(lambda: set(supervisor.states().values()) == {"RUNNING"})
    assert pids()["same"] == before["same"]
    assert psutil.Process(pids()["gcs"]).cmdline()[-1] == "--token-file"


def test_no_password_is_sent_to_a_stranger_who_listens_where_we_should(
    supervisor: Supervisor, state: State, stranger: list[bytes]
) -> None:
    home = supervisor.home
    secrets.derive(home.secrets, state.ports["postgres"])
    with pytest.raises(ManagerError, match="nothing secret is sent"):
        supervisor.states()
    assert stranger == []
    connect = "import sys, {0}; {0}.connect(sys.argv[1], connect_timeout=5)"
    url, port = home.secret("metadata_dsn").replace("+psycopg2", ""), state.ports["postgres"]
    commands = PostgresServer(home.data("postgres"), port).conninfo(
        "postgres", home.secret("postgres_password"), "postgres"
    )
    tasks = postgres_parameters(ConnectionFields.parse(postgres_connection(home, port), "taxi"))
    for library, info in (
        ("psycopg2", url),
        ("psycopg", url),
        ("psycopg", commands),
        ("psycopg", make_conninfo(**tasks)),
    ):
        command = [sys.executable, "-c", connect.format(library), info]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert 'authentication method requirement "scram-sha-256" failed' in done.stderr
    assert any(b"airflow" in heard for heard in stranger), "it was there to be asked"
    for name in secrets.GENERATORS:
        assert not [heard for heard in stranger if home.secret(name).encode() in heard], name
