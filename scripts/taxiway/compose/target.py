"""The compose target: the platform as containers of this machine's Docker, driven by the same commands."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lakehouse.settings import project_of
from taxiway.airflow.bootstrap import open_dags, wait_until_healthy
from taxiway.airflow.client import AirflowApi
from taxiway.airflow.environment import lineage
from taxiway.compose import prepare, variables
from taxiway.compose import project as compose
from taxiway.compose.project import BUILD_SECONDS, Docker, Project
from taxiway.console.progress import Progress
from taxiway.embedded.components import Component
from taxiway.environment.home import (
    DEFAULT_STACK,
    REPOSITORY,
    Home,
    State,
    write_atomically,
    write_json,
)
from taxiway.environment.ports import choose_ports
from taxiway.errors import PreflightError, TaxiwayError, UsageError
from taxiway.infrastructure import Engine, open_engine
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.waiting import Patience

READY_SECONDS = 300
# Healthy after 90 s on a quiet machine of two cores; a service that has given up is reported at once anyway.
UP_SECONDS = 1800
# A scan costs a fifth of a second of processor time, which the services want, too.
POLL_SECONDS = 2
# Services that end: what they did is what counts.
ONCE = ("prepare", "airflow-init", "infrastructure", "loader")
# The command loads itself, and shows what happens; the janitor waits for the loader's end.
NOT_STARTED = ("loader", "janitor")
INVITATION = "/opt/taxiway/scripts/taxiway/compose/hosts/invitation.py"
LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104 - named to be refused


@dataclass(frozen=True)
class Compose:
    """One environment as a Compose project. Every step may be repeated; a killed `start` is continued."""

    home: Home
    state: State
    progress: Progress
    docker: Docker = field(default_factory=Docker)
    poll_seconds: float = POLL_SECONDS

    @classmethod
    def prepare(
        cls, home: Home, progress: Progress, *, source: str, engine: str, project: str = ""
    ) -> Compose:
        """Check Docker and this machine, choose project name and ports, or take those that are in use."""
        if engine != "in-process" and not project:
            raise UsageError(
                f"--engine {engine} knows nothing of the emulators that Compose starts",
                "Leave --engine out, or give --project for a stack on Google Cloud.",
            )
        docker = Docker()
        prepare.check_engine(docker.check())
        check_source(source)
        known = State.load(home)
        if not (known and docker.labelled("container", cls(home, known, progress, docker).name)):
            chosen = choose_ports({**variables.USUAL, **(known.ports if known else {})}, progress.say)
            known = replace(known, ports=chosen) if known else State(chosen)
        state = replace(known, source=source, engine=engine, emulated=not project, target="compose")
        if project:
            StackFiles(home.stack_files).write(home.stack, {"taxiway:project": project})
        state.save(home)
        return cls(home, state, progress)

    # What there is

    @property
    def project(self) -> Project:
        """What `docker compose` is called with; its variables are written by `start`."""
        return Project(REPOSITORY, self.home.root / "compose.env", self.docker)

    @property
    def name(self) -> str:
        """The Compose project's name: the remembered one, or the one it would get."""
        return self.project.name or variables.project_name(REPOSITORY, self.home.stack, self.docker.owner)

    @property
    def logs(self) -> Path:
        """Airflow's logs on this machine; those of the default stack are where everybody looks for them."""
        return REPOSITORY / "logs" if self.home.stack == DEFAULT_STACK else self.home.logs / "airflow"

    @property
    def api(self) -> AirflowApi:
        """Airflow's API, signed in as its administrator."""
        return AirflowApi(self.state.api_url, self.home.secret("admin_password"))

    @property
    def engine(self) -> Engine:
        """What evaluates the Pulumi program of a stack on Google Cloud; for emulators a service does."""
        config = {"taxiway:project": project_of(StackFiles(self.home.stack_files).read(self.home.stack))}
        return open_engine(self.state.engine, self.home.stack, None, self.home.engine, config)

    def components(self) -> list[Component]:
        """Every service that keeps running, with the address at which it is published."""
        services = self._services().items()
        return [Component(name, [], compose.address(each)) for name, each in services if name not in ONCE]

    def states(self) -> dict[str, str]:
        """State of each service, those that have ended included; empty if nothing was started."""
        return compose.states(self.project.containers()) if self.project.file.exists() else {}

    def ailing(self) -> dict[str, str]:
        """A sentence by part of Airflow that does not answer; of the others Docker's own checks say it."""
        return self.api.ailing()

    def running(self) -> bool:
        """Whether anything of it runs."""
        return "RUNNING" in self.states().values()

    def log_command(self, component: str, lines: int, *, follow: bool) -> list[str]:
        """The command that shows a component's log; `scheduler` means `airflow-scheduler` too."""
        known = self._services()
        found = next((name for name in (component, f"airflow-{component}") if name in known), None)
        if found is None:
            raise UsageError(
                f"component {component!r} has no log", f"Choose one of: {', '.join(sorted(known))}"
            )
        options = ["--no-log-prefix", "--tail", str(lines), *(["--follow"] if follow else [])]
        return self.project.command("logs", *options, found)

    def airflow_command(self, arguments: Sequence[str]) -> list[str]:
        """The command that runs Airflow's own command line."""
        # With a terminal, so that `airflow dags delete` can ask; docker refuses one that is not there.
        terminal = () if sys.stdin.isatty() else ("-T",)
        return self.project.command("exec", *terminal, "airflow-scheduler", "airflow", *arguments)

    def _services(self) -> Mapping[str, Any]:
        services: Mapping[str, Any] = self.project.config()["services"]
        return services

    # Up

    def start(self) -> Compose:
        """Build, bring everything up, prepare Airflow."""
        self._write_variables()
        with self.progress.phase("images are built"):
            self._build()
        with self.progress.phase("services are up and healthy"):
            self._up()
        patience = Patience(
            READY_SECONDS, watch=self._raise_if_gone, remind=self.progress.say, every=POLL_SECONDS
        )
        variables.take_secrets(self.project, self.home, self.state.ports)
        with self.progress.phase("Airflow is healthy"):
            wait_until_healthy(self.api, patience)
        with self.progress.phase("DAGs are parsed, pools made, DAGs unpaused"):
            open_dags(self.api, patience)
        # It depends on the loader, which the commands do not start.
        self.project.run("up", "--detach", "--no-deps", "--no-build", "janitor")
        if "TAXIWAY_ADDRESS" in variables.read(self.project.file):
            invite = self.project.command("exec", "-T", "gateway", "python", INVITATION, "--name", "HOST")
            self.progress.say(f"invite another host: {shlex.join(invite)} >HOST.tar")
        write_json(
            self.home.environment, variables.host_side(self.project.config(), self.home, self.state.ports)
        )
        return self

    def _write_variables(self) -> None:
        if self.state.emulated:
            stack = variables.emulated(self.home.stack)
        else:
            with self.progress.phase(f"infrastructure is up (Pulumi program, {self.state.engine})"):
                outputs = self.engine.up()
            credentials = variables.write_credentials(self.home.secrets, outputs)
            stack = variables.of_stack(self.home.stack, outputs, credentials)
        before = variables.read(self.project.file)
        readable = self.state.emulated or bool(stack["GOOGLE_READER_CREDENTIALS_FILE"])
        wanted = {
            **stack,
            **{variable: str(self.state.ports[name]) for name, variable in variables.PORTS.items()},
            **variables.source(self.state),
            "COMPOSE_PROJECT_NAME": self.name,
            "AIRFLOW_UID": str(variables.uid()),
            "TAXIWAY_LOGS": str(self.logs),
            "TAXI_SCHEDULE_START": self.state.schedule_start,
            **variables.gateway(before, readable=readable),
            **lineage(),
        }
        if "TAXIWAY_ADDRESS" in before.keys() - wanted.keys():
            self.project.run("rm", "--stop", "--force", "gateway")
        write_atomically(self.project.file, variables.lines(wanted))

    def _build(self) -> None:
        services = [name for name, service in self._services().items() if "build" in service]
        done = self.project.run("build", *services, check=False, seconds=BUILD_SECONDS)
        output, log = done.stdout + done.stderr, self.home.logs / "compose-build.log"
        write_atomically(log, output)
        if done.returncode:
            raise TaxiwayError(f"the images cannot be built: {compose.complaint(output)}", f"See {log}")

    def _up(self) -> None:
        """`up --wait`, which is ended as soon as a service has given up: it would wait for minutes."""
        # What an earlier start left half-way: services that gave up, containers never started.
        if fallen := [name for name, state in self.states().items() if state == "FATAL"]:
            self.project.run("rm", "--force", "--stop", *fallen)
        self.project.run("rm", "--force")
        services = [name for name in self._services() if name not in NOT_STARTED]
        log = self.home.logs / "compose-up.log"
        options = ("--detach", "--wait", "--no-build", "--remove-orphans")
        command, clean = self.project.command("up", *options, *services), self.project.environment()
        with (
            log.open("w") as file,
            subprocess.Popen(command, env=clean, cwd=REPOSITORY, stdout=file, stderr=file) as up,
        ):
            patience = Patience(UP_SECONDS, watch=self._raise_if_gone, every=self.poll_seconds)
            try:
                patience.until(
                    lambda: up.poll() is not None, lambda: f"the services do not come up: see {log}"
                )
            finally:
                up.terminate()
        self._raise_if_gone()
        if up.returncode:
            complaint = compose.complaint(log.read_text())
            # It may be starting again by now, which looks well.
            if guilty := compose.named_in(complaint, self.project.containers()):
                raise self._fallen(guilty)
            raise TaxiwayError(f"the services do not come up: {complaint}", f"See {log}")

    def _raise_if_gone(self) -> None:
        """TaxiwayError with a failed service's last log lines."""

        def gone() -> dict[str, str]:
            return {c["ID"]: c["Service"] for c in self.project.containers() if compose.state(c) == "FATAL"}

        before = gone()
        if not before:
            return
        # Scanned twice: a container that is being replaced exits, too.
        time.sleep(self.poll_seconds)
        for container, service in gone().items():
            if container in before:
                raise self._fallen(service)

    def _fallen(self, service: str) -> TaxiwayError:
        options = ("--no-log-prefix", "--no-color", "--tail", "8")
        log = self.project.run("logs", *options, service, check=False).stdout.replace("\x1b[2K", "")
        lines = "\n".join(f"  {line}" for line in log.splitlines())
        return TaxiwayError(
            f"{service} does not stay up. Its last lines:\n{lines}",
            f"See scripts/logs {service}; scripts/down removes the environment.",
        )

    # Down

    def stop(self, *, keep: bool) -> list[str]:
        """Stop the containers; unless `keep`, remove what they held. Return what is gone.

        A stack on Google Cloud is its engine's to destroy.
        """
        # Without the file it was never started; Compose would take the defaults, which are another project.
        if not self.project.file.exists():
            return []
        removed = self._destroy() if self.state.emulated and not keep else []
        removed += [f"container  {name}" for name in self.docker.labelled("container", self.name)]
        volumes = [] if keep else self.docker.labelled("volume", self.name)
        with self.progress.phase("containers are stopped"):
            self.project.run("down", "--remove-orphans", *([] if keep else ["--volumes"]))
        if not keep and self.logs.exists():
            shutil.rmtree(self.logs)
            removed.append(f"folder  {self.logs}")
        return removed + [f"volume  {name}" for name in volumes]

    def _destroy(self) -> list[str]:
        """Remove what the stack holds on the emulators, and ask them what is left."""
        if self.states().get("gcs") != "RUNNING":
            return []  # nothing answers, and the volumes go anyway
        command = ("python", "-m", "taxiway.compose.infrastructure", "destroy")
        with self.progress.phase("infrastructure is destroyed"):
            # Tasks that still run would make anew what is destroyed beside them.
            self.project.run("stop", *[name for name in self._services() if name.startswith("airflow-")])
            done = self.project.run("run", "--rm", "--no-deps", "-T", "infrastructure", *command, check=False)
        if done.returncode:
            complaint = compose.complaint(done.stderr)
            raise TaxiwayError(f"the stack cannot be destroyed: {complaint}", "Call scripts/down again.")
        gone: list[str] = json.loads(done.stdout.strip().splitlines()[-1])
        return gone

    def left(self, *, keep: bool) -> list[str]:
        """What is still there, seen from outside; nothing should be."""
        kinds = ("container", "network") if keep else ("container", "network", "volume")
        found = [f"{kind} {name}" for kind in kinds for name in self.docker.labelled(kind, self.name)]
        return found + ([f"folder {self.logs}"] if self.logs.exists() and not keep else [])


def check_source(source: str) -> None:
    """PreflightError if `source` is a URL of this machine's loopback, which is not the containers'."""
    address = urlsplit(source)
    if address.scheme and address.hostname in LOOPBACK:
        raise PreflightError(
            f"containers cannot reach {source}: their loopback is not this machine's",
            f"Let it listen on 0.0.0.0 and pass --source http://host.docker.internal:{address.port or 80}",
        )
