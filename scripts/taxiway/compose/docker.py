"""The docker command: is it there, what has it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from taxiway.errors import PreflightError, TaxiwayError

OLDEST_COMPOSE = (2, 24)
INSTALL = "Install Docker with Compose 2.24 or newer: https://docs.docker.com/engine/install/"


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


def owner(project: str) -> Path | None:
    """The checkout whose containers bear this project's name."""
    shown = '{{.Label "com.docker.compose.project.working_dir"}}'
    chosen = ("--filter", f"label=com.docker.compose.project={project}", "--format", shown)
    found = docker("container", "ls", "--all", *chosen)
    return Path(found.splitlines()[0]) if found else None
