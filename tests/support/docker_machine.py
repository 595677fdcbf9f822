"""A machine for the container tests: an engine, Compose, and the base images.

`provide` makes what is missing where that can be: on Debian, as root. Nothing is touched elsewhere, and no
image is made that a registry has.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from repository import REPOSITORY

STANDINS = Path(__file__).resolve().parent / "standins"
# Where Compose is a static binary that runs anywhere, and from where base images are made.
SUITE = "trixie"
RELEASE = Path("/etc/os-release")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PLUGINS = Path("/usr/local/lib/docker/cli-plugins")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BASE = "taxiway-standin-debian"


class UnavailableError(Exception):
    """The machine cannot run containers; the message says what is missing."""


def provide() -> subprocess.Popen[bytes] | None:
    """Make engine, Compose and base images available; returns the engine if it was started here.

    Raises UnavailableError where that is impossible.
    """
    started = None
    if not succeeds("docker", "info"):
        started = start_engine()
    if not succeeds("docker", "compose", "version"):
        install_plugins()
    for image in base_images():
        if not succeeds("docker", "image", "inspect", image) and not pulled(image):
            build_standin(image)
    return started


def base_images() -> list[str]:
    """What the product is built from and run with, as its files say."""
    compose = (REPOSITORY / "docker-compose.yaml").read_text()
    run = re.findall(r"^\s+image: ([a-z]+:\S+)$", compose, re.MULTILINE)
    files = [REPOSITORY / file for file in re.findall(r"dockerfile: ([^\s}]+)", compose)]
    built = [
        found[1] for file in files if (found := re.search(r"^FROM (\S+)", file.read_text(), re.MULTILINE))
    ]
    return sorted({*run, *built})


def start_engine() -> subprocess.Popen[bytes]:
    """Install the engine where it is not, and run it, without an init system."""
    if shutil.which("dockerd") is None:
        must_be_debian_root("an engine")
        run("apt-get", "update", "-q")
        run(
            "apt-get",
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "docker.io",
            "iptables",
            "debootstrap",
        )
    log = Path(tempfile.gettempdir()) / "taxiway-dockerd.log"
    with log.open("wb") as file:
        engine = subprocess.Popen(["dockerd"], stdout=file, stderr=file, start_new_session=True)
    deadline = time.monotonic() + 60
    while not succeeds("docker", "info"):
        if engine.poll() is not None or time.monotonic() > deadline:
            engine.terminate()
            raise UnavailableError(f"dockerd does not start: {log.read_text()[-800:]}")
        time.sleep(0.5)
    return engine


def stop_engine(engine: subprocess.Popen[bytes]) -> None:
    """End the engine that `provide` started."""
    engine.terminate()
    try:
        engine.wait(60)
    except subprocess.TimeoutExpired:
        engine.kill()
        engine.wait()


def install_plugins() -> None:
    """Compose and Buildx from Debian's packages, unpacked; apt checks their signatures and sums."""
    must_be_debian_root("docker compose")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run("apt-get", *private_apt(place), "update", "-q")
        run("apt-get", *private_apt(place), "download", "-q", "docker-compose", "docker-buildx", cwd=place)
        for package in place.glob("*.deb"):
            run("dpkg-deb", "-x", str(package), str(place / "unpacked"))
        PLUGINS.mkdir(parents=True, exist_ok=True)
        for plugin in (place / "unpacked").rglob("cli-plugins/docker-*"):
            shutil.copy2(plugin, PLUGINS)


def private_apt(place: Path) -> list[str]:
    """Options with which apt reads the machine's own mirror, another suite of it, and leaves no trace."""
    (place / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (place / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    (place / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": place / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": place / "lists",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def mirror() -> str:
    """The Debian mirror that this machine is configured for."""
    listed = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages")
    found = [line.split()[1] for line in listed.splitlines() if line.startswith("Debian ")]
    if not found:
        raise UnavailableError("apt has no Debian mirror configured, so no base image can be made")
    return found[0]


def pulled(image: str) -> bool:
    """Whether a registry has the image, and gave it."""
    try:
        return (
            subprocess.run(["docker", "pull", "-q", image], capture_output=True, timeout=300).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


def build_standin(image: str) -> None:
    """Make an image of that name from Debian's packages; `standins/` says how."""
    recipe = STANDINS / f"{image.split(':')[0]}.Dockerfile"
    if not recipe.exists():
        raise UnavailableError(f"no registry gives {image}, and {recipe} is not there")
    if not succeeds("docker", "image", "inspect", BASE):
        make_base()
    with tempfile.TemporaryDirectory() as folder:
        context = Path(shutil.copytree(STANDINS, Path(folder) / "context"))
        shutil.copy2(CERTIFICATES, context)
        index = ["--build-arg", f"INDEX={package_index()}"] if package_index() else []
        # The classic builder: it takes BASE from this machine and asks nobody for it.
        run(
            "docker", "build", "-q", "-t", image, *index, "-f", str(context / recipe.name), str(context),
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
        )  # fmt: skip


def make_base() -> None:
    """Debian's smallest system, as an image."""
    must_be_debian_root("a base image")
    if shutil.which("debootstrap") is None:
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", "debootstrap")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(root), mirror())
        run("sh", "-c", f"tar -C {root} -c . | docker import - {BASE}")


def package_index() -> str:
    """The package index that this machine's pip is configured for; empty where it is the usual one."""
    asked = subprocess.run(
        ["python3", "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
    )
    return os.environ.get("PIP_INDEX_URL") or asked.stdout.strip()


def must_be_debian_root(what: str) -> None:
    """Raise UnavailableError unless apt may install `what`."""
    debian = RELEASE.exists() and "\nID=debian" in f"\n{RELEASE.read_text()}"
    if os.geteuid() != 0 or not debian:
        raise UnavailableError(f"{what} is missing, and only root on Debian can install it here")


def succeeds(*command: str) -> bool:
    """Whether a command ends well."""
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Output of a command; UnavailableError with its last lines where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode:
        raise UnavailableError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout)[-800:]}")
    return done.stdout
