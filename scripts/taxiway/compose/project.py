"""One Compose project: `docker compose` with the variables that its verbs decided on."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taxiway.airflow.environment import clean_environment
from taxiway.compose import dotenv
from taxiway.compose.docker import last_line
from taxiway.errors import TaxiwayError


@dataclass(frozen=True)
class Project:
    """One Compose project of a checkout; its variables, its name among them, are in `file` alone."""

    folder: Path
    file: Path

    @property
    def name(self) -> str:
        """The project's name, by which its containers, volumes and networks are labelled."""
        return dotenv.read(self.file)["COMPOSE_PROJECT_NAME"]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose ARGUMENTS`; TaxiwayError with its last line where it fails."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment(), capture_output=True, text=True, cwd=self.folder
        )
        if check and done.returncode:
            reason = last_line(done.stderr or done.stdout)
            raise TaxiwayError(f"docker compose {arguments[0]} failed: {reason}")
        return done

    def command(self, *arguments: str) -> list[str]:
        """The command line of `run`. A .env that is here is another stack's, maybe: it is not read."""
        return ["docker", "compose", "--env-file", str(self.file), "--ansi", "never", *arguments]

    def environment(self) -> dict[str, str]:
        """What `run` runs with: nothing that would win over the file."""
        ours = dotenv.read(self.file)
        kept = clean_environment().items()
        return {name: value for name, value in kept if name not in ours and not name.startswith("COMPOSE_")}

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
        options = ("--no-log-prefix", "--no-color", "--tail", str(count))
        lines = self.run("logs", *options, service, check=False).stdout.replace("\x1b[2K", "")
        return "\n".join(f"  {line}" for line in lines.splitlines())
