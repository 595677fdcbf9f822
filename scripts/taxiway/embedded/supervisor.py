"""Supervisor (supervisord.org) keeps the processes running; this module configures it and calls its API."""

from __future__ import annotations

import configparser
import io
import os
import shlex
import sys
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from taxiway.airflow.environment import clean_environment
from taxiway.embedded.components import Component
from taxiway.environment.home import Home, write_atomically
from taxiway.errors import TaxiwayError
from taxiway.waiting import Patience, run

STOP_SECONDS = 15
ANSWER_SECONDS = 30
LOOK = "See scripts/logs supervisord"


class _Transport(xmlrpc.client.Transport):
    """HTTP with a time-out, which xmlrpc.client itself knows nothing of."""

    def make_connection(self, host: Any) -> Any:
        connection = super().make_connection(host)
        connection.timeout = ANSWER_SECONDS
        return connection


@dataclass(frozen=True)
class Supervisor:
    """The process manager of one environment, reached on a loopback port with a generated password."""

    home: Home
    port: int

    @property
    def pidfile(self) -> Path:
        """Written by the manager itself."""
        return self.home.root / "supervisord.pid"

    def pid(self) -> int | None:
        """Process id of the running manager; None if it does not run."""
        # The file may outlive its process, and the number be another program's by now.
        try:
            process = psutil.Process(int(self.pidfile.read_text()))
            return process.pid if "supervisord" in " ".join(process.cmdline()) else None
        except (FileNotFoundError, ValueError, psutil.Error):
            return None

    def start(self, components: Iterable[Component]) -> None:
        """Start the manager (nothing else) with `components` declared."""
        if self.pid():
            return
        self.home.logs.mkdir(parents=True, exist_ok=True)
        configuration = self.home.root / "supervisord.conf"
        write_atomically(configuration, self._configuration(components))
        supervisord = Path(sys.prefix) / "bin" / "supervisord"
        # It warns of its own use of pkg_resources, and of nothing else.
        command: list[str | Path] = [sys.executable, "-W", "ignore", supervisord, "-c", configuration]
        done = run(command, cwd=self.home.root, env=clean_environment())
        if done.returncode:
            raise TaxiwayError(
                f"the process manager did not start: {(done.stderr or done.stdout).strip()[-300:]}"
            )
        Patience(10, LOOK).until(self._answers, lambda: "the process manager does not answer")

    def start_component(self, name: str) -> None:
        """Start one component and return at once; no error if it runs already."""
        try:
            # False: its own wait ends when the process has lived for a second, not when it answers.
            self._rpc.startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            from supervisor.xmlrpc import Faults  # it brings supervisor's whole server

            if fault.faultCode != Faults.ALREADY_STARTED:
                raise TaxiwayError(
                    f"{name} cannot be started: {fault.faultString}", f"See scripts/logs {name}"
                ) from None

    def stop_components(self, names: Iterable[str]) -> None:
        """Stop some components at once and wait for them; those that do not run are left alone."""
        states = self.states()
        running = [name for name in names if states.get(name) in ("RUNNING", "STARTING", "BACKOFF")]
        for name in running:
            self._rpc.stopProcess(name, False)
        Patience(2 * STOP_SECONDS, LOOK).until(
            lambda: not any(self.states()[name] in ("RUNNING", "STOPPING") for name in running),
            lambda: f"some components do not stop: {', '.join(running)}",
        )

    def states(self) -> dict[str, str]:
        """State of each declared component: RUNNING, STARTING, BACKOFF, FATAL, STOPPED, EXITED."""
        infos: Any = self._rpc.getAllProcessInfo()
        return {info["name"]: info["statename"] for info in infos}

    def stop(self) -> None:
        """Stop every component at once, PostgreSQL after what uses it, then the manager."""
        pid = self.pid()
        if pid is None:
            return
        manager = psutil.Process(pid)
        try:
            self.stop_components(name for name in self.states() if name != "postgres")
            self._rpc.shutdown()
        except (OSError, xmlrpc.client.Error):
            # It does not answer; on TERM it stops what it started, in no particular order.
            manager.terminate()
        try:
            manager.wait(60)
        except psutil.TimeoutExpired:
            raise TaxiwayError(f"the process manager (pid {pid}) does not stop", LOOK) from None
        self.pidfile.unlink(missing_ok=True)

    def strays(self) -> list[psutil.Process]:
        """Processes of this environment that outlived their manager (it was killed, say).

        They are known by their working folder and program: Airflow and PostgreSQL rewrite the memory
        that holds their command line and variables.
        """
        root = self.home.root.resolve()
        programs = Path(sys.executable).resolve(), Path(sys.prefix).resolve()
        return [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, root, programs)]

    def end_strays(self, seconds: float = 10.0) -> list[str]:
        """Terminate, then kill, what `strays` finds; returns their names."""
        strays = self.strays()
        names = [f"{process.name()} ({process.pid})" for process in strays if process.is_running()]
        for process in strays:
            process.terminate()
        _, stubborn = psutil.wait_procs(strays, timeout=seconds)
        for process in stubborn:
            process.kill()
        psutil.wait_procs(stubborn, timeout=5)
        return names

    @property
    def _rpc(self) -> Any:
        password = self.home.secret("supervisor_password")
        url = f"http://taxiway:{password}@127.0.0.1:{self.port}/RPC2"
        return xmlrpc.client.ServerProxy(url, transport=_Transport()).supervisor

    def _answers(self) -> bool:
        try:
            return bool(self._rpc.getState())
        except (OSError, xmlrpc.client.Error):
            return False

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
            parser[f"program:{component.name}"] = self._program(component)
        text = io.StringIO()
        parser.write(text)
        # Supervisor expands %(name)s everywhere, in passwords and commands, too.
        return text.getvalue().replace("%", "%%")

    def _program(self, component: Component) -> dict[str, str]:
        program = {
            "command": shlex.join(component.command),
            "directory": str(self.home.root),
            "autostart": "false",
            # What has lived for a second is RUNNING. Whether it answers, its health check says.
            "startsecs": "1",
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
            program["environment"] = ",".join(f'{k}="{v}"' for k, v in component.environment.items())
        return program


def _belongs(process: psutil.Process, root: Path, programs: tuple[Path, Path]) -> bool:
    try:
        folder, program = Path(process.cwd()), Path(process.exe())
    except (psutil.Error, OSError):
        return False
    return folder.is_relative_to(root) and any(program.is_relative_to(p) for p in programs)
