"""The platform on a stack's own machine: `scripts/up --on vm` makes it, and brings this checkout there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any

from lakehouse.names import Names, image, zone
from taxiway.compose.project import BUILD_SECONDS, complaint
from taxiway.environment.home import REPOSITORY
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.waiting import Patience, run

if TYPE_CHECKING:
    from lakehouse.settings import Settings

Call = Callable[..., CompletedProcess[str]]
PORT = 8080
# Of the checkout: what docker-compose.yaml mounts on the machine, and that file itself.
DEPLOYED = ("airflow", "dags", "dags_local", "docker-compose.yaml", "infra", "plugins", "scripts")
# Debian's first boot, Docker's installation, grants that become effective, and the platform's own start.
READY_SECONDS = 1800
PROGRAMS = {
    "docker": "Install Docker: https://docs.docker.com/engine/install/",
    "gcloud": "Install it: https://cloud.google.com/sdk/docs/install   and: gcloud auth login",
}


@dataclass(frozen=True)
class Runner:
    """The machine of one stack, reached by `gcloud`; `call` runs a program as `waiting.run` does."""

    project: str
    zone: str
    name: str
    image: str
    folder: Path = REPOSITORY
    call: Call = run

    @classmethod
    def of(cls, stack: str, settings: Settings, **more: Any) -> Runner:
        """The runner of a stack, whether it is there or not."""
        project, location = settings.project, settings.location
        name = Names.of(project, stack, settings.bucket).account
        return cls(project, zone(location), name, image(project, location, name), **more)

    def check(self, which: Callable[[str], str | None] = shutil.which) -> None:
        """PreflightError where a program is missing."""
        for program, remedy in PROGRAMS.items():
            if which(program) is None:
                raise PreflightError(f"there is no {program} on PATH, which --on vm calls", remedy)

    def push(self) -> None:
        """Build the image with this checkout in it, and push it to the stack's repository."""
        # The machine is Intel's. A classic builder does not know the option: left out where it is not needed.
        other = () if os.uname().machine == "x86_64" else ("--platform", "linux/amd64")
        base = f"{self.name}:base"
        # Without a value: docker takes it from the environment, or else the Dockerfile's own.
        ours = ("--build-arg", "PYTHON_IMAGE", "--file", "airflow/Dockerfile")
        self._run("docker", "build", *other, "--tag", base, *ours, ".")
        # A context of its own: .dockerignore keeps the checkout out of the images that mount it.
        with tempfile.TemporaryDirectory(prefix="taxiway-") as name:
            folder = Path(name)
            for part in DEPLOYED:
                source, place = self.folder / part, folder / "checkout" / part
                if source.is_dir():
                    shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__", "stacks"))
                else:
                    place.write_bytes(source.read_bytes())
            (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY checkout /checkout\n")
            self._run("docker", "build", *other, "--tag", self.image, name)
        self._run("gcloud", "auth", "configure-docker", self.image.partition("/")[0], "--quiet")
        self._run("docker", "push", self.image)

    def restart(self, patience: Patience) -> None:
        """Have the machine run the pushed image; return once all its services are healthy."""
        last = [""]

        def ask(command: str) -> bool:
            done = self.call(self.ssh("--command", command), 300)
            last[0] = complaint(done.stdout + done.stderr)
            return done.returncode == 0

        def waiting_for() -> str:
            return f"the platform on {self.name} is not healthy: {last[0]}"

        # Before its first boot is over nobody answers, and there is no such service yet.
        patience.until(lambda: ask("sudo systemctl restart --no-block taxiway"), waiting_for)
        log = "sudo journalctl --unit taxiway --lines 1 --output cat --no-pager"
        patience.until(
            lambda: ask(f"systemctl is-active --quiet taxiway || {{ {log}; false; }}"), waiting_for
        )

    def ssh(self, *words: str) -> list[str]:
        """The command that signs in on the machine, through IAP."""
        where = ("--project", self.project, "--zone", self.zone)
        return ["gcloud", "compute", "ssh", self.name, *where, "--tunnel-through-iap", "--quiet", *words]

    def next_steps(self) -> dict[str, str]:
        """What to type next, and what for."""
        secret = f"--secret {self.name}--admin-password --project {self.project}"
        return {
            " ".join(self.ssh("--", f"-NL {PORT}:127.0.0.1:{PORT}")): (
                f"Airflow, while this runs: http://127.0.0.1:{PORT}, user admin"
            ),
            f"gcloud secrets versions access latest {secret}": "its password",
            " ".join(self.ssh()): "a shell there; the log: sudo journalctl -u taxiway",
        }

    def _run(self, *command: str) -> None:
        done = self.call(list(command), BUILD_SECONDS, cwd=self.folder)
        if done.returncode:
            words = " ".join(command[:2])
            raise TaxiwayError(
                f"`{words}` failed: {complaint(done.stderr or done.stdout)}", "Then call scripts/up again."
            )
