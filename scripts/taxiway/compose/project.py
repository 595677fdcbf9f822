"""The docker command, one Compose project, and what Compose says of its containers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taxiway.airflow.environment import clean_environment
from taxiway.compose import variables
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.waiting import run

OLDEST_COMPOSE = (2, 24)
INSTALL = "Install Docker with Compose 2.24 or newer: https://docs.docker.com/engine/install/"
RESTART = "Docker's engine may hang: restart it, then call again."
# An image is built from a hundred packages; everything else answers or ends within a minute or two.
BUILD_SECONDS = 3600
SECONDS = 300
_LOOKS = 10
Container = Mapping[str, Any]
"""One object of `docker compose ps --format json`."""


@dataclass(frozen=True)
class Docker:
    """The docker command of this machine."""

    program: str = "docker"

    def run(
        self, *arguments: str, seconds: float = SECONDS, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """`docker ARGUMENTS`, whether it fails or not; TaxiwayError if it takes more than `seconds`."""
        return run([self.program, *arguments], seconds, RESTART, **options)

    def labelled(self, kind: str, project: str, shown: str = "") -> list[str]:
        """Names of a project's objects of a `kind` (container, volume, network), or what `shown` asks for."""
        every = ("--all",) if kind == "container" else ()
        shown = shown or ("{{.Names}}" if every else "{{.Name}}")
        chosen = ("--filter", f"label=com.docker.compose.project={project}", "--format", shown)
        done = self.run(kind, "ls", *every, *chosen)
        if done.returncode:
            raise TaxiwayError(f"docker {kind} failed: {complaint(done.stderr)}")
        return sorted(done.stdout.splitlines())

    def owner(self, project: str) -> Path | None:
        """The checkout whose containers bear this project's name."""
        found = self.labelled("container", project, '{{.Label "com.docker.compose.project.working_dir"}}')
        return Path(found[0]) if found else None

    def check(self) -> dict[str, Any]:
        """What `docker info` says; PreflightError without an engine, or with a Compose that is too old."""
        if shutil.which(self.program) is None:
            raise PreflightError("there is no docker on PATH", INSTALL)
        version = self.run("compose", "version", "--short")
        if version.returncode or compose_version(version.stdout) < OLDEST_COMPOSE:
            found = version.stdout.strip() or "none"
            raise PreflightError(f"docker compose is missing or too old ({found})", INSTALL)
        info = self.run("info", "--format", "{{json .}}")
        facts: dict[str, Any] = json.loads(info.stdout) if info.stdout.strip() else {}
        # Without an engine old clients exit with 0, and say what is wrong among the facts.
        if info.returncode or facts.get("ServerErrors"):
            reason = (facts.get("ServerErrors") or [complaint(info.stderr)])[0]
            raise PreflightError(
                f"Docker's engine does not answer: {reason}", "Start Docker, then call again."
            )
        return facts


@dataclass(frozen=True)
class Project:
    """One Compose project of a checkout; its variables, its name among them, are in `file` alone."""

    folder: Path
    file: Path
    docker: Docker = field(default_factory=Docker)

    @property
    def name(self) -> str:
        """What its containers, volumes and networks are labelled with; empty before `up`."""
        return variables.read(self.file).get("COMPOSE_PROJECT_NAME", "")

    def run(
        self, *arguments: str, check: bool = True, seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """`docker compose ARGUMENTS`; TaxiwayError with what it complains about if it fails."""
        _, *words = self.command(*arguments)
        done = self.docker.run(*words, seconds=seconds, env=self.environment(), cwd=self.folder)
        if check:
            _check(arguments[0], done)
        return done

    def command(self, *arguments: str) -> list[str]:
        """The command line of `run`. A .env that is here may be another stack's: it is not read."""
        options = ("--env-file", str(self.file), "--ansi", "never")
        return [self.docker.program, "compose", *options, *arguments]

    def environment(self) -> dict[str, str]:
        """What `run` runs with. Compose prefers the shell's variables to the file's: none of those stays."""
        ours = variables.read(self.file)
        kept = clean_environment().items()
        return {name: value for name, value in kept if name not in ours and not name.startswith("COMPOSE_")}

    def config(self) -> dict[str, Any]:
        """The file as Compose understands it with these variables."""
        found: dict[str, Any] = json.loads(self.run("config", "--format", "json").stdout)
        return found

    def containers(self) -> list[dict[str, Any]]:
        """What `docker compose ps` says of each container, those that have ended included."""
        for _ in range(_LOOKS):
            done = self.run("ps", "--all", "--format", "json", check=False)
            # It lists them, then looks at each: meanwhile `up` may put another into one's place.
            if "No such container" not in done.stderr:
                break
        _check("ps", done)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def read(self, service: str, file: str) -> str:
        """The text of a file in a running container."""
        return self.run("exec", "-T", service, "cat", file).stdout


def state(container: Container) -> str:
    """RUNNING, STARTING, STOPPED, EXITED (as it should), or FATAL: it will not recover by itself."""
    status, health = container["State"], container.get("Health", "")
    if status == "restarting" or (status == "exited" and container["ExitCode"]) or health == "unhealthy":
        return "FATAL"
    if status == "exited":
        return "EXITED"
    if status != "running":
        return "STOPPED"
    return "STARTING" if health == "starting" else "RUNNING"


def states(containers: Iterable[Container]) -> dict[str, str]:
    """State of each service; if it has several containers, the worst state wins."""
    found: dict[str, str] = {}
    for container in containers:
        if found.get(container["Service"], "RUNNING") == "RUNNING":
            found[container["Service"]] = state(container)
    return found


def address(service: Mapping[str, Any]) -> str:
    """URL of a service of `docker compose config` that people open on this machine; empty if it has none."""
    ports = [port for port in service.get("ports", []) if port.get("host_ip", "127.0.0.1") == "127.0.0.1"]
    published = [port["published"] for port in ports if port.get("published")]
    if not published:
        return ""
    database = str(service.get("image", "")).startswith("postgres")
    return f"postgresql://127.0.0.1:{published[0]}/taxi" if database else f"http://127.0.0.1:{published[0]}"


def _check(name: str, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise TaxiwayError(f"docker compose {name} failed: {complaint(done.stderr or done.stdout)}")


def complaint(output: str) -> str:
    """The line in which docker says what is wrong; it may print much after it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    blamed = [line for line in lines if any(w in line.lower() for w in ("error", "failed", "unhealthy"))]
    return (blamed or lines or ["no output"])[-1]


def named_in(complaint: str, containers: Iterable[Container]) -> str:
    """The service that a complaint of Compose is about; empty if it names none."""
    named = (c for c in containers if c["Name"] in complaint or f'service "{c["Service"]}"' in complaint)
    return str(next((container["Service"] for container in named), ""))


def compose_version(text: str) -> tuple[int, ...]:
    """(major, minor) of what `docker compose version --short` prints, such as `v2.26.1-4`."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
