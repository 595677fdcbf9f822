#!/usr/bin/env python3
"""Make a bare Debian machine fit for the tests in containers and in a browser. For CI; .ci/run calls it.

    .ci/machine.py prepare PIDFILE    install and start what is missing: engine, Compose, base images, browser
                                      (PIDFILE.images tells the shell which images were made here)
    .ci/machine.py stop PIDFILE       end the engine that it has started

It acts as root on Debian alone, and makes no image that a registry has. Nothing calls it on a user's machine:
there `scripts/test --docker` reports what is missing. It runs before anything is installed: no libraries.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
STANDINS = Path(__file__).resolve().parent / "standins"
# The suite whose Compose is a static binary that runs anywhere, and from which base images are made.
SUITE = "trixie"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PLUGINS = Path("/usr/local/lib/docker/cli-plugins")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
STANDIN = "taxiway-standin-"
BASE = f"{STANDIN}debian"
ENGINE = ("docker.io", "iptables", "debootstrap")
BROWSER = ("chromium", "chromium-driver")
# An image of the stand-ins is built from Debian's packages, which a slow mirror sends.
SECONDS = 1800


class UnavailableError(Exception):
    """The machine cannot be prepared; the message says what is missing."""


class Shell:
    """Runs commands on this machine."""

    def run(self, *command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
        """Output of a command; UnavailableError with its last lines if it fails, or does not end."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnavailableError(f"{' '.join(command[:3])} failed: {error}") from None
        if done.returncode:
            raise UnavailableError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout)[-800:]}")
        return done.stdout

    def succeeds(self, *command: str, seconds: float = 60) -> bool:
        """Whether a command ends well, in time."""
        try:
            return subprocess.run(command, capture_output=True, timeout=seconds).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    def has(self, program: str) -> bool:
        """Whether a program is on PATH."""
        return shutil.which(program) is not None

    def start(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a process that outlives this one."""
        with log.open("wb") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)


def on_debian() -> bool:
    """Whether this is Debian, and we are root."""
    release = Path("/etc/os-release")
    debian = release.exists() and "\nID=debian" in f"\n{release.read_text()}"
    return os.geteuid() == 0 and debian


@dataclass
class Machine:
    """A machine to prepare. `may_install`: whether apt may be asked for what is missing."""

    shell: Shell = field(default_factory=Shell)
    may_install: bool = field(default_factory=on_debian)

    def prepare(self) -> int | None:
        """Make engine, Compose, base images and browser available; the pid of an engine that was started."""
        engine = None
        if not (self.shell.has("chromium") and self.shell.has("chromedriver")):
            self.install("a browser", *BROWSER)
        if not self.shell.succeeds("docker", "info"):
            engine = self.start_engine()
        if not self.shell.succeeds("docker", "compose", "version"):
            self.install_plugins()
        return engine

    def stand_ins(self) -> dict[str, str]:
        """Variables of Compose that name an image made here, for each base image that no registry gives."""
        made = {}
        for variable, image in base_images().items():
            ours = STANDIN + image.partition(":")[0]
            if self.shell.succeeds("docker", "image", "inspect", image):
                continue
            if not self.shell.succeeds("docker", "image", "inspect", ours):
                if self.shell.succeeds("docker", "pull", "-q", image, seconds=300):
                    continue
                self.build_standin(ours)
            made[variable] = ours
        return made

    def install(self, what: str, *packages: str) -> None:
        """Install Debian's packages; UnavailableError unless we may."""
        self.must_be_allowed(what)
        self.shell.run("apt-get", "update", "-q")
        self.shell.run("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages)

    def must_be_allowed(self, what: str) -> None:
        """UnavailableError unless apt may be asked for `what`."""
        if not self.may_install:
            raise UnavailableError(f"{what} is missing, and only root on Debian can install it here")

    def start_engine(self) -> int:
        """Install the engine if it is missing, and run it, without an init system."""
        if not self.shell.has("dockerd"):
            self.install("an engine", *ENGINE)
        log = Path(tempfile.gettempdir()) / "taxiway-dockerd.log"
        engine = self.shell.start(["dockerd"], log)
        deadline = time.monotonic() + 60
        while not self.shell.succeeds("docker", "info"):
            if engine.poll() is not None or time.monotonic() > deadline:
                engine.terminate()
                raise UnavailableError(f"dockerd does not start: {log.read_text()[-800:]}")
            time.sleep(0.5)
        return engine.pid

    def install_plugins(self) -> None:
        """Compose and Buildx from Debian's packages, unpacked; apt checks their signatures and sums.

        Debian bookworm's own Compose is the old one, in Python.
        """
        self.must_be_allowed("docker compose")
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            options = private_apt(place, self.mirror())
            self.shell.run("apt-get", *options, "update", "-q")
            wanted = ("docker-compose", "docker-buildx")
            self.shell.run("apt-get", *options, "download", "-q", *wanted, cwd=place)
            for package in place.glob("*.deb"):
                self.shell.run("dpkg-deb", "-x", str(package), str(place / "unpacked"))
            PLUGINS.mkdir(parents=True, exist_ok=True)
            for plugin in (place / "unpacked").rglob("cli-plugins/docker-*"):
                shutil.copy2(plugin, PLUGINS)

    def mirror(self) -> str:
        """The Debian mirror that this machine is configured for."""
        listed = self.shell.run(
            "apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"
        )
        found = [line.split()[1] for line in listed.splitlines() if line.startswith("Debian ")]
        if not found:
            raise UnavailableError("apt has no Debian mirror configured, so no base image can be made")
        return found[0]

    def build_standin(self, image: str) -> None:
        """Make an image of that name from Debian's packages, by its recipe in standins/."""
        recipe = STANDINS / f"{image.removeprefix(STANDIN)}.Dockerfile"
        if not recipe.exists():
            raise UnavailableError(f"no registry answers, and there is no {recipe.name}")
        if not self.shell.succeeds("docker", "image", "inspect", BASE):
            self.make_base()
        with tempfile.TemporaryDirectory() as folder:
            context = Path(shutil.copytree(STANDINS, Path(folder) / "context"))
            shutil.copy2(CERTIFICATES, context)
            index = ["--build-arg", f"INDEX={self.package_index()}"] if self.package_index() else []
            # The classic builder: it takes BASE from this machine and asks no registry for it.
            self.shell.run(
                "docker", "build", "-q", "-t", image, *index, "-f", str(context / recipe.name), str(context),
                env={**os.environ, "DOCKER_BUILDKIT": "0"},
            )  # fmt: skip

    def make_base(self) -> None:
        """Debian's smallest system, as an image."""
        self.must_be_allowed("a base image")
        if not self.shell.has("debootstrap"):
            self.install("debootstrap", "debootstrap")
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "root"
            options = ("--variant=minbase", "--include=ca-certificates")
            self.shell.run("debootstrap", *options, SUITE, str(root), self.mirror())
            self.shell.run("sh", "-c", f"tar -C {root} -c . | docker import - {BASE}")

    def package_index(self) -> str:
        """The package index that this machine's pip is configured for; empty if it is the usual one."""
        if named := os.environ.get("PIP_INDEX_URL"):
            return named
        # pip ends with 1 if there is no such setting.
        command = "python3 -m pip config get global.index-url || true"
        return self.shell.run("sh", "-c", command).strip()


def private_apt(place: Path, mirror: str) -> list[str]:
    """Options with which apt reads the machine's own mirror, another suite of it, and leaves no trace."""
    (place / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (place / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    (place / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": place / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": place / "lists",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def base_images() -> dict[str, str]:
    """What the product is built from and run with, by the variable with which another is chosen."""
    compose = (REPOSITORY / "docker-compose.yaml").read_text()
    files = [REPOSITORY / file for file in re.findall(r"dockerfile: ([^\s},]+)", compose)]
    named = re.findall(r"\$\{(\w+_IMAGE):-(\S+)\}", compose)
    for file in files:
        named += re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", file.read_text(), re.MULTILINE)
    return dict(sorted(named))


def stop(file: Path) -> None:
    """End the engine whose pid is in `file`, if any; it ends its containers first."""
    if not file.exists():
        return
    pid = int(file.read_text())
    file.unlink()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if runs(pid):
            os.kill(pid, number)
        deadline = time.monotonic() + 60
        while runs(pid) and time.monotonic() < deadline:
            time.sleep(0.2)


def runs(pid: int) -> bool:
    """Whether a process is there; one that has ended stays in the list until init reads its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    """Prepare or stop; returns 1, with the reason printed, if that is impossible."""
    action, file = arguments[0], Path(arguments[1])
    if action == "stop":
        stop(file)
        return 0
    try:
        ready = Machine()
        if pid := ready.prepare():
            file.write_text(str(pid))
        variables = ready.stand_ins().items()
        Path(f"{file}.images").write_text("".join(f"export {name}={made}\n" for name, made in variables))
    except UnavailableError as error:
        sys.stderr.write(f"this machine cannot be prepared: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
