"""A rehearsal: lock, image and DAG tests with another Airflow; folder and image go away again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from taxiway.compose import requirements
from taxiway.compose.containers import complaint
from taxiway.console.progress import Progress
from taxiway.environment.home import REPOSITORY
from taxiway.errors import TaxiwayError

DOCKERFILE = "airflow/Dockerfile"
# The tests run in the image as well: what they need is installed with it.
GROUPS = (*requirements.EXPORTS["airflow/requirements.txt"], "--only-group", "dev")
PYTEST = ("python", "-m", "pytest", "tests/dags", "-q", "--tb=line", "-p", "no:cacheprovider", "--no-header")


@dataclass(frozen=True)
class Report:
    """What another Airflow would mean: `changes` of the lock, `tests` as pytest told them."""

    changes: list[str]
    tests: str
    broken: bool


def rehearse(version: str, progress: Progress) -> Report:
    """Try Airflow `version`. TaxiwayError where no set of packages fits it, or the image cannot be built."""
    image = f"taxiway-upgrade:{version}"
    with tempfile.TemporaryDirectory(prefix="taxiway-upgrade-") as name:
        folder = Path(name)
        with progress.phase(f"packages that fit Airflow {version} are found"):
            changes = lock(version, folder)
        with progress.phase("the image is built"):
            build(image, folder)
    try:
        with progress.phase("the DAGs are parsed, their tests run"):
            tests = run_tests(image)
    finally:
        subprocess.run(["docker", "image", "rm", image], capture_output=True)
    return Report(changes, tests.stdout + tests.stderr, tests.returncode != 0)


def lock(version: str, folder: Path) -> list[str]:
    """Write a lock with that Airflow into `folder`; returns `package old -> new` where they differ."""
    for file in ("pyproject.toml", "uv.lock"):
        shutil.copy2(REPOSITORY / file, folder)
    project = folder / "pyproject.toml"
    project.write_text(pinned(project.read_text(), version))
    before = versions((folder / "uv.lock").read_text())
    command = [requirements.uv(), "lock", "--upgrade-package", "apache-airflow"]
    done = subprocess.run(command, cwd=folder, env=requirements.environment(), capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split("hint:")[0].split())[-600:]
        raise TaxiwayError(f"no set of packages fits Airflow {version}: {reason}")
    return differences(before, versions((folder / "uv.lock").read_text()))


def pinned(project: str, version: str) -> str:
    """The text of pyproject.toml with exactly that Airflow."""
    text, count = re.subn(r'"apache-airflow[<>=][^"]*"', f'"apache-airflow=={version}"', project)
    if count != 1:
        raise TaxiwayError("pyproject.toml does not say which Airflow, in one place")
    return text


def versions(text: str) -> dict[str, str]:
    """Version by package of a uv.lock; several where it differs by platform."""
    found: dict[str, str] = {}
    for name, version in re.findall(r'^name = "(.+)"\nversion = "(.+)"', text, re.MULTILINE):
        found[name] = f"{found[name]}, {version}" if name in found else version
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """`package old → new` for each package that is not the same."""
    names = sorted({*before, *after})
    return [
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def build(image: str, folder: Path) -> None:
    """Build the image from the product's own Dockerfile and the lock in `folder`."""
    context = folder / "context"
    shutil.copytree(REPOSITORY / "airflow", context / "airflow")
    accepts = Path("scripts/taxiway/compose/api_accepts.py")
    (context / accepts.parent).mkdir(parents=True)
    shutil.copy2(REPOSITORY / accepts, context / accepts)
    (context / "airflow" / "requirements.txt").write_text(requirements.export(GROUPS, folder))
    command = ["docker", "build", "-t", image, "-f", str(context / DOCKERFILE), str(context)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise TaxiwayError(f"the image cannot be built: {complaint(done.stdout + done.stderr)}")


def run_tests(image: str) -> subprocess.CompletedProcess[str]:
    """Run the DAG tests of this checkout in the image, confined, without a network."""
    options = [
        "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/home/airflow",  # noqa: S108
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--user", f"{os.getuid()}:0",
        "--volume", f"{REPOSITORY}:/checkout:ro", "--workdir", "/checkout", "--entrypoint", PYTEST[0],
    ]  # fmt: skip
    command = ["docker", "run", *options, image, *PYTEST[1:]]
    return subprocess.run(command, capture_output=True, text=True)
