"""The locked packages: what the images install of them, and rehearsals of other ones.

A rehearsal changes nothing of this checkout: it works in a folder that goes away, and so does what it built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taxiway.compose.project import BUILD_SECONDS, Docker, complaint
from taxiway.console.progress import Progress
from taxiway.environment.home import REPOSITORY
from taxiway.errors import TaxiwayError
from taxiway.waiting import run

NETWORK = "Check the network to the package index, then call again."
EXPORTS: Mapping[str, tuple[str, ...]] = {
    "airflow/requirements.txt": ("--only-group", "airflow-image"),
    # Only the real engine runs the policy pack, and asks for the environment's pip.
    "scripts/taxiway/emulators/requirements.txt": (
        "--only-group", "emulators-image", "--no-emit-package", "pip", "--no-emit-package", "pulumi-policy",
    ),
}  # fmt: skip
"""Arguments of `uv export` by the file that an image is built from."""

DOCKERFILE = "airflow/Dockerfile"
# The DAGs' tests run in the image of a rehearsal as well: what they need is installed with it.
WITH_TESTS = (*EXPORTS["airflow/requirements.txt"], "--only-group", "test")
PYTEST = ("python", "-m", "pytest", "tests/dags", "-q", "--tb=line", "-p", "no:cacheprovider", "--no-header")
# Far above what they take on two cores: a rehearsal that hangs must end, a slow one must not.
LOCK_SECONDS, INSTALL_SECONDS, TEST_SECONDS = 900, 3600, 3600
CHECKS: Mapping[str, tuple[str, ...]] = {
    "scripts/check": ("check",),
    "scripts/test tests/unit tests/dags": (
        "test", "tests/unit", "tests/dags", "-q", "--tb=short", "--no-header", "-p", "no:cacheprovider",
    ),
}  # fmt: skip
"""What a rehearsed lock has to pass, as arguments of `python -m taxiway`."""


@dataclass(frozen=True)
class Uv:
    """The uv command: the commands' own, which scripts/_bootstrap.py installs, else the one on PATH."""

    program: str = str(REPOSITORY / ".tools" / "uv" / "bin" / "uv")

    def run(self, folder: Path, *arguments: str, seconds: float = 300) -> str:
        """Output of `uv ARGUMENTS`; TaxiwayError with its reason if it fails, or if there is no uv."""
        program = shutil.which(self.program) or shutil.which("uv")
        if program is None:
            raise TaxiwayError("there is no uv", "Call scripts/up once, or install it: pipx install uv")
        done = run([program, *arguments], seconds, NETWORK, cwd=folder, env=environment())
        if done.returncode:
            reason = " ".join(done.stderr.split("hint:")[0].split())[-600:]
            raise TaxiwayError(f"uv {arguments[0]} failed: {reason}")
        return done.stdout


@dataclass(frozen=True)
class Report:
    """What other packages would mean: `changes` of the lock, and what each check that failed printed.

    `held` are the releases that a bound in a pyproject.toml keeps out.
    """

    changes: list[str]
    failures: Mapping[str, str]
    held: tuple[str, ...] = ()


def export(options: tuple[str, ...], project: Path = REPOSITORY) -> str:
    """The locked packages of some groups, each with its hashes, as a requirements.txt."""
    arguments = ("export", "--frozen", "--no-emit-workspace", "--no-header", "--no-annotate", *options)
    return Uv().run(project, *arguments)


def rehearse_airflow(version: str, progress: Progress, docker: Docker) -> Report:
    """Try Airflow `version`: lock, image, DAG tests in it.

    TaxiwayError if no set of packages fits it, or the image cannot be built.
    """
    image = f"taxiway-upgrade:{version}"
    with _copy() as folder:
        with progress.phase(f"packages that fit Airflow {version} are found"):
            project = folder / "plugins" / "pyproject.toml"
            project.write_text(pinned(project.read_text(), version))
            changes = _lock(folder, Uv(), "--upgrade-package", "apache-airflow")
        with progress.phase("the image is built"):
            (folder / "airflow" / "requirements.txt").write_text(export(WITH_TESTS, folder))
            command = ("build", "-t", image, "-f", str(folder / DOCKERFILE), str(folder))
            done = docker.run(*command, seconds=BUILD_SECONDS)
        if done.returncode:
            raise TaxiwayError(f"the image cannot be built: {complaint(done.stdout + done.stderr)}")
    try:
        with progress.phase("the DAGs are parsed, their tests run"):
            tests = _run_dag_tests(image, docker)
    finally:
        # Its layers stay in the builder's cache: the next rehearsal of this version is quick.
        docker.run("image", "rm", image)
    return Report(changes, {"tests/dags": tests.stdout + tests.stderr} if tests.returncode else {})


def rehearse_lock(progress: Progress, uv: Uv) -> Report:
    """Try the newest release of every package that the bounds let in: install them, check and test this code.

    TaxiwayError if no set of packages fits, or they cannot be installed.
    """
    failures = {}
    with _copy() as folder:
        with progress.phase("the newest packages that fit are found"):
            changes = _lock(folder, uv, "--upgrade")
        if not changes:
            return Report([], {}, _held_back(folder, uv))
        with progress.phase("they are installed"):
            uv.run(folder, "sync", "--frozen", "--group", "check", "--group", "test", seconds=INSTALL_SECONDS)
        for name, arguments in CHECKS.items():
            with progress.phase(name):
                command = [str(folder / ".venv" / "bin" / "python"), "-m", "taxiway", *arguments]
                done = run(command, TEST_SECONDS, cwd=folder, env=environment())
            if done.returncode:
                failures[name] = done.stdout + done.stderr
        return Report(changes, failures, _held_back(folder, uv))


@contextmanager
def _copy() -> Iterator[Path]:
    """A copy of this checkout, without what git ignores; it goes away again."""
    with tempfile.TemporaryDirectory(prefix="taxiway-upgrade-") as name:
        folder = Path(name)
        listed = run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY
        ).stdout
        for file in filter(None, listed.split("\0")):
            if (REPOSITORY / file).is_file():  # a deleted one is listed, too
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / file, folder / file)
        # Some tests ask git for the files of the checkout.
        for command in (["git", "init", "-q"], ["git", "add", "-A"]):
            run(command, cwd=folder)
        yield folder


def _lock(folder: Path, uv: Uv, *options: str) -> list[str]:
    """Lock anew in a copy; returns `package old → new` for each package that is not the same."""
    file = folder / "uv.lock"
    before = versions(file.read_text())
    uv.run(folder, "lock", *options, seconds=LOCK_SECONDS)
    return differences(before, versions(file.read_text()))


def _held_back(folder: Path, uv: Uv) -> tuple[str, ...]:
    """`package version (latest: version)` for each requirement that a bound keeps from its newest release."""
    tree = uv.run(folder, "tree", "--frozen", "--outdated", "--depth", "1", seconds=LOCK_SECONDS)
    found = re.findall(r"^[├└]── (\S+) v(\S+).* \(latest: v(\S+)\)$", tree, re.MULTILINE)
    return tuple(sorted({f"{name} {version} (latest: {latest})" for name, version, latest in found}))


def _run_dag_tests(image: str, docker: Docker) -> subprocess.CompletedProcess[str]:
    """Run the DAG tests of this checkout in an image, confined, without a network."""
    options = [
        "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/home/airflow",  # noqa: S108
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--user", f"{os.getuid()}:0",
        "--volume", f"{REPOSITORY}:/checkout:ro", "--workdir", "/checkout", "--entrypoint", PYTEST[0],
        # Where the image expects this checkout's packages.
        "--volume", f"{REPOSITORY / 'plugins'}:/opt/airflow/plugins:ro",
        "--volume", f"{REPOSITORY / 'scripts'}:/opt/taxiway/scripts:ro",
    ]  # fmt: skip
    return docker.run("run", *options, image, *PYTEST[1:], seconds=TEST_SECONDS)


def pinned(project: str, version: str) -> str:
    """The text of plugins/pyproject.toml with exactly that Airflow."""
    text, count = re.subn(r'"apache-airflow[<>=][^"]*"', f'"apache-airflow=={version}"', project)
    if count != 1:
        raise TaxiwayError("plugins/pyproject.toml does not name apache-airflow in one place")
    return text


def versions(text: str) -> dict[str, str]:
    """Version by package of a uv.lock; several if it differs by platform."""
    # By pattern: reading all of it as TOML takes twenty times as long.
    found: dict[str, str] = {}
    for name, version in re.findall(r'^name = "(.+)"\nversion = "(.+)"', text, re.MULTILINE):
        found[name] = f"{found[name]}, {version}" if name in found else version
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """`package old → new` for each package that is not the same."""
    return [
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def environment() -> dict[str, str]:
    """What uv and the checks run with: no Python is downloaded, this process' environment is left alone."""
    # Each of them would point uv, or the tests, at another environment than the copy's.
    foreign = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "AIRFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "UV_PYTHON_DOWNLOADS": "never"}
