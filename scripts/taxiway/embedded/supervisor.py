"""Supervisor (supervisord.org) keeps the processes running; this module configures it and calls its API."""

from __future__ import annotations

import configparser
import io
import os
import shlex
import signal
import sys
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from taxiway.airflow.environment import child_environment
from taxiway.embedded.components import Component
from taxiway.environment.home import Home, private_folder, write_atomically
from taxiway.environment.ports import CLOSING, hold
from taxiway.errors import TaxiwayError
from taxiway.waiting import Patience, run

STOP_SECONDS = 15
# How often a process that ends at once is started again, a second later, two, three, …: whoever was killed
# with all the others finds, at first, what the others have left.
RETRIES = 5
LOOK = "See scripts/logs supervisord"


class ManagerError(TaxiwayError):
    """The process manager does not answer, or somebody else listens where it should."""


class _Transport(xmlrpc.client.Transport):
    """HTTP with a time-out, which xmlrpc.client itself knows nothing of."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def make_connection(self, host: Any) -> Any:
        connection = super().make_connection(host)
        connection.timeout = self.seconds
        return connection


@dataclass(frozen=True)
class Supervisor:
    """The process manager of one environment, reached on a loopback port with a generated password."""

    home: Home
    port: int
    answer_seconds: float = 15

    @property
    def pidfile(self) -> Path:
        """Written by the manager itself."""
        return self.home.root / "supervisord.pid"

    @property
    def configuration(self) -> Path:
        """Its file of settings; in its command line, it tells one environment's manager from another's."""
        return self.home.root / "supervisord.conf"

    def pid(self) -> int | None:
        """Process id of the running manager; None if it does not run."""
        # The file may outlive its process, and the number be another program's by now.
        try:
            process = psutil.Process(int(self.pidfile.read_text()))
            return process.pid if str(self.configuration) in process.cmdline() else None
        except (FileNotFoundError, ValueError, psutil.Error):
            return None

    def start(self, components: Sequence[Component], say: Callable[[str], None] = lambda _: None) -> None:
        """Start the manager (nothing else) with `components` declared.

        One that runs learns new components, and stops those that are declared otherwise now: whoever upgrades
        a running platform gets the new commands. A new one holds the ports of the components, also while one
        that crashed is started again: no other user is sent there what is secret.
        """
        self.home.logs.mkdir(parents=True, exist_ok=True)
        write_atomically(self.configuration, self._configuration(components))
        if self.pid():
            ((added, changed, _removed),) = self._call("reloadConfig")
            self.stop_components(changed)
            for name in changed:
                self._call("removeProcessGroup", name)
            for name in [*added, *changed]:
                self._call("addProcessGroup", name)
            return
        # Supervisor warns of its own use of pkg_resources. Its forks, which may be tasks, warn users of what
        # those can change.
        silent = ("-W", "ignore::DeprecationWarning", "-W", "ignore:pkg_resources is deprecated")
        python = (sys.executable, *silent, "-m", "taxiway.embedded.manager")
        command: list[str | Path] = [*python, "-c", self.configuration]
        with ExitStack() as ours:
            # Its own copies stay open as long as it runs; it closes them in what it starts.
            closing = replace(CLOSING, remind=say)
            held = [ours.enter_context(hold(p, closing)).fileno() for c in components for p in c.ports]
            done = run(command, cwd=self.home.root, env=child_environment(), pass_fds=held)
        if done.returncode:
            raise TaxiwayError(
                f"the process manager did not start: {(done.stderr or done.stdout).strip()[-300:]}"
            )
        Patience(10, LOOK).until(self.answers, lambda: "the process manager does not answer")

    def answers(self) -> bool:
        """Whether the manager does what it is asked."""
        with suppress(ManagerError):
            return bool(self._call("getState"))
        return False

    def imports(self) -> bool:
        """Whether the manager still imports what Airflow's processes are forks of."""
        return self.pidfile.with_suffix(".importing").exists()

    def start_component(self, name: str) -> None:
        """Start one component and return at once; no error if it runs already."""
        from supervisor.xmlrpc import Faults  # it brings supervisor's whole server

        try:
            # False: its own wait ends when the process has lived for a second, not when it answers.
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise TaxiwayError(
                    f"{name} cannot be started: {fault.faultString}", f"See scripts/logs {name}"
                ) from None

    def stop_components(self, names: Iterable[str]) -> None:
        """Stop some components at once and wait for them; those that do not run are left alone."""
        states = self.states()
        running = [name for name in names if states.get(name) in ("RUNNING", "STARTING", "BACKOFF")]
        for name in running:
            # One may have ended by itself meanwhile.
            with suppress(xmlrpc.client.Fault):
                self._call("stopProcess", name, False)
        Patience(2 * STOP_SECONDS, LOOK).until(
            lambda: not any(self.states()[name] in ("RUNNING", "STOPPING") for name in running),
            lambda: f"some components do not stop: {', '.join(running)}",
        )

    def states(self) -> dict[str, str]:
        """State of each declared component: RUNNING, STARTING, BACKOFF, FATAL, STOPPED, EXITED."""
        return {info["name"]: info["statename"] for info in self._call("getAllProcessInfo")}

    def stop(self) -> None:
        """Stop every component at once, PostgreSQL after what uses it, then the manager."""
        pid = self.pid()
        if pid is None:
            return
        manager = psutil.Process(pid)
        try:
            self.stop_components(name for name in self.states() if name != "postgres")
            self._call("shutdown")
        except (ManagerError, xmlrpc.client.Error):
            # It does not answer; on TERM it stops what it started, in no particular order.
            manager.terminate()
        try:
            manager.wait(60)
        except psutil.TimeoutExpired:
            # It hangs. What it has started is ended as strays.
            manager.kill()
        self.pidfile.unlink(missing_ok=True)

    # Seen from outside

    def listens(self, port: int) -> bool:
        """Whether a process of this environment is the one that listens on a port of 127.0.0.1.

        Between the choice of a port and its use anybody may take it: who listens is checked before the
        first secret is sent there.
        """
        for process in self._processes():
            with suppress(psutil.Error):
                for socket in process.net_connections("tcp"):
                    if socket.status == psutil.CONN_LISTEN and socket.laddr.port == port:
                        return True
        return False

    def check_listener(self, port: int) -> None:
        """ManagerError unless a process of this environment listens on `port`."""
        if not self.listens(port):
            raise ManagerError(
                f"port {port} is not served by this environment: nothing secret is sent there",
                "Stop what listens there, or start the platform: scripts/up",
            )

    def strays(self) -> list[psutil.Process]:
        """Processes of this environment that outlived their manager (it was killed, say).

        They are known by their working folder and program: Airflow and PostgreSQL rewrite the memory
        that holds their command line and variables.
        """
        root = self.home.root.resolve()
        programs = Path(sys.executable).resolve(), Path(sys.prefix).resolve()
        return [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, root, programs)]

    def survivors(self) -> set[str]:
        """Names of the components of which processes are left: each component has a working folder."""
        found = set()
        for process in self.strays():
            with suppress(psutil.Error, OSError):
                found.add(Path(process.cwd()).name)
        return found

    def end_strays(self, seconds: float = 10.0) -> list[str]:
        """Terminate, then kill, what `strays` finds, a hung manager included; returns their names."""
        strays = self.strays()
        names = []
        for process in strays:
            with suppress(psutil.NoSuchProcess):
                names.append(f"{process.name()} ({process.pid})")
                # PostgreSQL would wait, on TERM, until every client has left.
                process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
        _, stubborn = psutil.wait_procs(strays, timeout=seconds)
        for process in stubborn:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(stubborn, timeout=5)
        return names

    def _processes(self) -> Iterator[psutil.Process]:
        """The manager and what it started; where it was killed, what is left."""
        pid = self.pid()
        if pid is None:
            yield from self.strays()
            return
        with suppress(psutil.NoSuchProcess):
            manager = psutil.Process(pid)
            yield manager
            yield from manager.children(recursive=True)

    def _call(self, method: str, *arguments: Any) -> Any:
        # The password goes along with every request.
        self.check_listener(self.port)
        password = self.home.secret("supervisor_password")
        url = f"http://taxiway:{password}@127.0.0.1:{self.port}/RPC2"
        proxy = xmlrpc.client.ServerProxy(url, transport=_Transport(self.answer_seconds))
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, xmlrpc.client.ProtocolError) as error:
            raise ManagerError(
                f"the process manager does not answer ({type(error).__name__})",
                "scripts/up replaces it and goes on.",
            ) from None

    def _configuration(self, components: Iterable[Component]) -> str:
        parser = configparser.RawConfigParser()
        parser["supervisord"] = {
            "pidfile": str(self.pidfile),
            "logfile": str(self.home.logs / "supervisord.log"),
            "childlogdir": str(self.home.logs),
            "directory": str(self.home.root),
            # Logs and data are for their owner alone, whatever a component would make of them.
            "umask": "077",
            # Said by name, or it warns that it runs as root.
            **({"user": "root"} if os.geteuid() == 0 else {}),
        }
        parser["inet_http_server"] = {
            "port": f"127.0.0.1:{self.port}",
            "username": "taxiway",
            "password": self.home.secret("supervisor_password"),
        }
        parser["rpcinterface:supervisor"] = {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        }
        for component in components:
            # Whose a process is can be told by its working folder, even when nobody manages it any more.
            folder = private_folder(self.home.root / "run" / component.name)
            settings = {
                "command": shlex.join(component.command),
                "directory": str(folder),
                "autostart": "false",
                # What has lived for a second is RUNNING. Whether it answers, its health check says.
                "startsecs": "1",
                "startretries": str(RETRIES),
                # Whatever it ends with: nothing ends here unless it is stopped.
                "autorestart": "true",
                "stopsignal": component.stop_signal,
                "stopwaitsecs": str(STOP_SECONDS),
                # Airflow's processes end their children when they are stopped; a kill takes them along.
                "killasgroup": "true",
                "redirect_stderr": "true",
                "stdout_logfile": str(self.home.logs / f"{component.name}.log"),
                "stdout_logfile_maxbytes": "10MB",
                "stdout_logfile_backups": "2",
            }
            if component.environment:
                settings["environment"] = ",".join(f'{k}="{v}"' for k, v in component.environment.items())
            parser[f"program:{component.name}"] = settings
        text = io.StringIO()
        parser.write(text)
        # Supervisor expands %(name)s everywhere, in passwords and commands, too.
        return text.getvalue().replace("%", "%%")


def _belongs(process: psutil.Process, root: Path, programs: tuple[Path, Path]) -> bool:
    try:
        folder, program = Path(process.cwd()), Path(process.exe())
        ours = folder.is_relative_to(root) and any(program.is_relative_to(p) for p in programs)
        # One that is dying keeps its folder for a moment, and psutil remembers its program.
        return ours and bool(process.cmdline())
    except (psutil.Error, OSError):
        return False
