"""The compose target: the platform as containers of this machine's Docker, driven by the same verbs."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from taxiway import ports
from taxiway.airflow_api import AirflowApi
from taxiway.components import Component
from taxiway.compose import choices, containers, hostside, preflight
from taxiway.compose.docker import Project, check_docker, labelled
from taxiway.errors import TaxiwayError, UsageError
from taxiway.files import read_json, write_atomically, write_json
from taxiway.opening import open_dags, wait_until_healthy
from taxiway.paths import REPOSITORY, Home
from taxiway.preflight import moved_ports
from taxiway.progress import Progress
from taxiway.state import SAMPLE, State

TARGET = "compose"
READY_SECONDS = 300
LOGS = REPOSITORY / "logs"
# Services that end: what they did is what counts.
ONCE = ("prepare", "airflow-init", "infrastructure", "loader")
# The verb loads itself, and shows what happens; the janitor waits for the loader's end.
NOT_STARTED = ("loader", "janitor")
DESTROY = ("python", "-m", "taxiway.compose.infrastructure", "destroy")


@dataclass(frozen=True)
class Compose:
    """One environment as a Compose project. Every step may be repeated; a killed `start` is continued."""

    home: Home
    state: State
    progress: Progress
    project: Project

    @classmethod
    def prepare(
        cls, home: Home, progress: Progress, source: str = SAMPLE, engine: str = "in-process"
    ) -> Compose:
        """Check Docker and this machine, choose project name and ports, or take those that are in use."""
        _refuse_other_engines(engine)
        info = check_docker()
        preflight.check_engine(info)
        preflight.check_readable(REPOSITORY, choices.uid())
        preflight.check_source(source)
        known = _known_state(home)
        name = _remembered_name(home) or choices.project_name(REPOSITORY)
        in_use = known if known and labelled("container", name) else None
        state = in_use or _with_free_ports(known, progress)
        write_json(home.root / "compose.json", {"project": name})
        made = cls.of(home, replace(state, source=source, engine=engine, target=TARGET), progress)
        made.state.save(home)
        return made

    @classmethod
    def of(cls, home: Home, state: State, progress: Progress) -> Compose:
        """The environment that `state` describes; nothing is checked, nothing is chosen."""
        name = _remembered_name(home) or choices.normalised(REPOSITORY.name)
        return cls(home, state, progress, Project(REPOSITORY, name, _variables(state)))

    # What there is

    @property
    def api(self) -> AirflowApi:
        """Airflow's API, signed in as its administrator."""
        return AirflowApi(self.state.api_url, (self.home.secrets / "admin_password").read_text())

    def components(self) -> list[Component]:
        """Every service that keeps running, with the address where it is published."""
        services: Mapping[str, Any] = self.project.config()["services"]
        return [
            Component(name, [], containers.address(service))
            for name, service in services.items()
            if name not in ONCE
        ]

    def states(self) -> dict[str, str]:
        """State of each service, those that have ended included."""
        return containers.states(self.project.containers())

    def running(self) -> bool:
        """Whether anything of it runs."""
        return bool(self.project.run("ps", "--quiet", check=False).stdout.strip())

    def log_command(self, component: str, lines: int, *, follow: bool) -> list[str]:
        """The command that shows a component's log."""
        options = ["--no-log-prefix", "--tail", str(lines), *(["--follow"] if follow else [])]
        return self.project.command("logs", *options, self.service(component))

    def service(self, component: str) -> str:
        """The name of a service, of the one that the embedded target has for it (`scheduler`) too."""
        known = self.project.config()["services"]
        found = next((name for name in (component, f"airflow-{component}") if name in known), None)
        if found is None:
            raise UsageError(
                f"there is no service {component!r}", f"Choose one of: {', '.join(sorted(known))}"
            )
        return found

    # Up

    def start(self) -> Compose:
        """Build, bring everything up, open the platform; returns the environment with the stack's outputs."""
        with self.progress.phase("images are built"):
            self._build()
        with self.progress.phase("services are up and healthy"):
            self._up()
        hostside.take_secrets(self.project, self.home, self.state.ports)
        with self.progress.phase("Airflow is healthy"):
            wait_until_healthy(self.api, READY_SECONDS, self._raise_if_gone)
        with self.progress.phase("DAGs are parsed, pools made, DAGs unpaused"):
            open_dags(self.api, READY_SECONDS, self._raise_if_gone)
        self.project.run("up", "--detach", "--no-deps", "--no-build", "janitor")
        outputs = hostside.environment(self.project.config(), self.home, self.state.ports)
        write_json(self.home.environment, outputs)
        started = replace(self, state=replace(self.state, outputs=outputs))
        started.state.save(self.home)
        return started

    def _build(self) -> None:
        services = [n for n, service in self.project.config()["services"].items() if "build" in service]
        done = self.project.run("build", *services, check=False)
        output, log = done.stdout + done.stderr, self.home.logs / "compose-build.log"
        write_atomically(log, output)
        if done.returncode:
            raise TaxiwayError(f"the images cannot be built: {containers.complaint(output)}", f"See {log}")

    def _up(self) -> None:
        """`up --wait`, which is ended as soon as a service has given up: it would wait for minutes."""
        services = [name for name in self.project.config()["services"] if name not in NOT_STARTED]
        log = self.home.logs / "compose-up.log"
        command = self.project.command(
            "up", "--detach", "--wait", "--no-build", "--remove-orphans", *services
        )
        with log.open("w") as file, subprocess.Popen(
            command, env=self.project.environment(), cwd=REPOSITORY, stdout=file, stderr=file
        ) as up:  # fmt: skip
            try:
                while up.poll() is None:
                    self._raise_if_gone()
                    time.sleep(1)
            finally:
                up.terminate()
        self._raise_if_gone()
        if up.returncode:
            complaint = containers.complaint(log.read_text())
            raise TaxiwayError(f"the services do not come up: {complaint}", f"See {log}")

    def _raise_if_gone(self) -> None:
        """Say which service gave up, and its last words."""
        for container in self.project.containers():
            if containers.state(container) == "FATAL":
                service = container["Service"]
                raise TaxiwayError(
                    f"{service} does not stay up. Its last lines:\n{self.project.last_lines(service, 8)}",
                    f"See scripts/logs {service}; scripts/down removes the environment.",
                )

    # Down

    def stop(self, *, keep: bool) -> list[str]:
        """Stop the containers; unless `keep`, remove what they held. Returns what is gone."""
        removed = [] if keep else self._destroy()
        removed += [f"container  {name}" for name in labelled("container", self.project.name)]
        volumes = [] if keep else labelled("volume", self.project.name)
        with self.progress.phase("containers are stopped"):
            self.project.run("down", "--remove-orphans", *([] if keep else ["--volumes"]))
        if not keep and LOGS.exists():
            shutil.rmtree(LOGS)
            removed.append(f"folder  {LOGS}")
        return removed + [f"volume  {name}" for name in volumes]

    def _destroy(self) -> list[str]:
        """Remove what the stack holds on the emulators, then ask them what is left."""
        if self.states().get("gcs") != "RUNNING":
            return []  # nobody to ask, and their volumes go anyway
        with self.progress.phase("infrastructure is destroyed"):
            done = self.project.run("run", "--rm", "--no-deps", "-T", "infrastructure", *DESTROY, check=False)
        if done.returncode:
            complaint = containers.complaint(done.stderr)
            raise TaxiwayError(f"the stack cannot be destroyed: {complaint}", "Call scripts/down again.")
        gone: list[str] = json.loads(done.stdout.strip().splitlines()[-1])
        return gone

    def left(self, *, keep: bool) -> list[str]:
        """What is still there, seen from outside; nothing should be."""
        kinds = ("container", "network") if keep else ("container", "network", "volume")
        found = [f"{kind} {name}" for kind in kinds for name in labelled(kind, self.project.name)]
        found += [
            f"port {port} ({name})" for name, port in self.state.ports.items() if not ports.is_free(port)
        ]
        return found + ([f"folder {LOGS}"] if LOGS.exists() and not keep else [])


def _refuse_other_engines(engine: str) -> None:
    if engine != "in-process":
        raise UsageError(
            f"--engine {engine} does not go with --target compose",
            "For a stack on Google Cloud: pulumi up, scripts/env, docker compose up.",
        )


def _known_state(home: Home) -> State | None:
    known = State.load(home)
    if known and known.target != TARGET:
        raise TaxiwayError(
            f"there is an environment of the {known.target} target here", "Remove it first: scripts/down"
        )
    return known


def _remembered_name(home: Home) -> str:
    return str(read_json(home.root / "compose.json").get("project", ""))


def _with_free_ports(known: State | None, progress: Progress) -> State:
    wanted = {**choices.USUAL, **(known.ports if known else {})}
    chosen = ports.choose(wanted)
    for sentence in moved_ports(wanted, chosen):
        progress.say(sentence)
    return replace(known, ports=chosen) if known else State(chosen)


def _variables(state: State) -> dict[str, str]:
    """What Compose is told besides .env."""
    published = {variable: str(state.ports[name]) for name, variable in choices.VARIABLES.items()}
    source = {} if state.source == SAMPLE else {"TLC_BASE_URL": state.source}
    return {"AIRFLOW_UID": str(choices.uid()), **published, **source}
