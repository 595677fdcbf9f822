"""The docker command, as much of it as the compose target needs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taxiway.airflow_environment import clean_environment
from taxiway.errors import PreflightError, TaxiwayError

OLDEST_COMPOSE = (2, 24)
INSTALL = "Install Docker with Compose 2.24 or newer: https://docs.docker.com/engine/install/"


@dataclass(frozen=True)
class Project:
    """One Compose project of a checkout. `variables` come after those of its .env, and win."""

    folder: Path
    name: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose ARGUMENTS`; TaxiwayError with its last line where it fails."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment(), capture_output=True, text=True, cwd=self.folder
        )
        if check and done.returncode:
            raise TaxiwayError(
                f"docker compose {arguments[0]} failed: {last_line(done.stderr or done.stdout)}"
            )
        return done

    def command(self, *arguments: str) -> list[str]:
        """The command line of `run`."""
        return ["docker", "compose", "--project-name", self.name, "--ansi", "never", *arguments]

    def environment(self) -> dict[str, str]:
        """What `run` runs with: nothing of another cloud or another Airflow, but the project's own."""
        return {**clean_environment(), "COMPOSE_PROJECT_NAME": self.name, **self.variables}

    def config(self) -> dict[str, Any]:
        """The file as Compose understands it with these variables."""
        found: dict[str, Any] = json.loads(self.run("config", "--format", "json").stdout)
        return found

    def containers(self) -> list[dict[str, Any]]:
        """What `docker compose ps` says of each container, those that have ended included."""
        text = self.run("ps", "--all", "--format", "json").stdout.strip()
        if text.startswith("["):
            listed: list[dict[str, Any]] = json.loads(text)
            return listed
        return [json.loads(line) for line in text.splitlines()]

    def read(self, service: str, file: str) -> str:
        """The text of a file in a running container."""
        return self.run("exec", "-T", service, "cat", file).stdout

    def last_lines(self, service: str, count: int) -> str:
        """The end of a service's log, indented."""
        lines = self.run(
            "logs", "--no-log-prefix", "--no-color", "--tail", str(count), service, check=False
        ).stdout
        return "\n".join(f"  {line}" for line in lines.replace("\x1b[2K", "").splitlines())


def last_line(text: str) -> str:
    """What a program said last."""
    return text.strip().splitlines()[-1] if text.strip() else "it said nothing"


def docker(*arguments: str) -> str:
    """Output of `docker ARGUMENTS`; TaxiwayError with its last line where it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise TaxiwayError(f"docker {arguments[0]} failed: {last_line(done.stderr)}")
    return done.stdout.strip()


def check_docker() -> dict[str, Any]:
    """What `docker info` says; PreflightError where there is no engine, or no Compose that is new enough."""
    if shutil.which("docker") is None:
        raise PreflightError("there is no docker on PATH", INSTALL)
    version = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True)
    if version.returncode or compose_version(version.stdout) < OLDEST_COMPOSE:
        raise PreflightError(
            f"docker compose is missing or too old ({version.stdout.strip() or 'none'})", INSTALL
        )
    info = subprocess.run(["docker", "info", "--format", "{{json .}}"], capture_output=True, text=True)
    facts: dict[str, Any] = json.loads(info.stdout) if info.stdout.strip() else {}
    if info.returncode or facts.get("ServerErrors"):
        reason = (facts.get("ServerErrors") or [last_line(info.stderr)])[0]
        raise PreflightError(f"Docker's engine does not answer: {reason}", "Start Docker, then call again.")
    return facts


def compose_version(text: str) -> tuple[int, ...]:
    """(major, minor) of what `docker compose version --short` prints, such as `v2.26.1-4`."""
    numbers = text.strip().lstrip("v").split(".")[:2]
    return tuple(int(number) for number in numbers) if all(n.isdigit() for n in numbers) else (0,)


def labelled(kind: str, project: str) -> list[str]:
    """Names of a project's containers, volumes or networks; `kind` is docker's word for them."""
    options = ["--all", "--format", "{{.Names}}"] if kind == "container" else ["--format", "{{.Name}}"]
    found = docker(kind, "ls", "--filter", f"label=com.docker.compose.project={project}", *options)
    return sorted(found.splitlines())
