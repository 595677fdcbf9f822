"""The locked packages: what the images install of them, and rehearsals of other ones.

A rehearsal changes nothing of this checkout: it works in a folder that goes away.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taxiway.console.progress import Progress
from taxiway.environment.home import REPOSITORY
from taxiway.errors import TaxiwayError
from taxiway.waiting import run

EXPORTS: Mapping[str, tuple[str, ...]] = {
    "airflow/requirements.txt": ("--only-group", "airflow-image"),
    # Only the real engine runs the policy pack, and asks for the environment's pip.
    "scripts/taxiway/emulators/requirements.txt": (
        "--only-group", "emulators-image", "--no-emit-package", "pip", "--no-emit-package", "pulumi-policy",
    ),
    "scripts/taxiway/asking/mcp.txt": ("--package", "taxiway", "--only-group", "mcp"),
    "scripts/taxiway/asking/notebook.txt": ("--package", "taxiway", "--only-group", "notebook"),
    "scripts/taxiway/docgen/site.txt": ("--package", "taxiway", "--only-group", "site"),
    # What installs all others: scripts/_bootstrap.py and both images take it from here.
    "scripts/uv.txt": ("--only-group", "uv"),
}  # fmt: skip
"""Arguments of `uv export` by the file that is installed from."""

# Far above what they take on two cores: a rehearsal that hangs must end, a slow one must not.
LOCK_SECONDS, INSTALL_SECONDS, TEST_SECONDS = 900, 3600, 3600
QUIET = ("-q", "--tb=short", "--no-header", "-p", "no:cacheprovider")
CHECKS: Mapping[str, tuple[str, ...]] = {
    "scripts/check": ("check",),
    "the DAGs' tests, and the images'": ("test", "tests/dags", "tests/contract/test_compose_file.py", *QUIET),
    "scripts/test tests/unit": ("test", "tests/unit", *QUIET),
}
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
        remedy = "Check the network to the package index, then call again."
        done = run([program, *arguments], seconds, remedy, cwd=folder, env=environment())
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


def export(options: tuple[str, ...], project: Path = REPOSITORY, uv: Uv | None = None) -> str:
    """The locked packages of some groups, each with its hashes, as a requirements.txt."""
    arguments = ("export", "--frozen", "--no-emit-workspace", "--no-header", "--no-annotate", *options)
    return (uv or Uv()).run(project, *arguments)


def rehearse(version: str, progress: Progress, uv: Uv) -> Report:
    """Try Airflow `version`, or the newest of all packages if it is empty: install, check and test this code.

    Only a whole lock runs the unit tests: they know little of Airflow, and take minutes.
    TaxiwayError if no set of packages fits, or they cannot be installed.
    """
    with _copy() as folder:
        lock, project = folder / "uv.lock", folder / "plugins" / "pyproject.toml"
        before, options = versions(lock.read_text()), ["--upgrade"]
        if version:
            project.write_text(pinned(project.read_text(), version))
            options = ["--upgrade-package", "apache-airflow"]
        with progress.phase("packages that fit are found"):
            uv.run(folder, "lock", *options, seconds=LOCK_SECONDS)
        changes = differences(before, versions(lock.read_text()))
        if not changes:
            return Report([], {}, _held_back(folder, uv))
        with progress.phase("they are installed"):
            uv.run(folder, "sync", "--frozen", "--group", "check", "--group", "test", seconds=INSTALL_SECONDS)
            for file, group in EXPORTS.items():
                (folder / file).write_text(export(group, folder, uv))
        failures = {}
        for name, arguments in list(CHECKS.items())[: -1 if version else None]:
            with progress.phase(name):
                command = [str(folder / ".venv" / "bin" / "python"), "-m", "taxiway", *arguments]
                # The copy has no .tools: its tests find uv on PATH.
                path = f"{Path(uv.program).parent}:{os.environ['PATH']}"
                done = run(command, TEST_SECONDS, cwd=folder, env={**environment(), "PATH": path})
            if done.returncode:
                failures[name] = done.stdout + done.stderr
        return Report(changes, failures, _held_back(folder, uv))


@contextmanager
def _copy() -> Iterator[Path]:
    """A copy of this checkout, without what git ignores; it goes away again."""
    with tempfile.TemporaryDirectory(prefix="taxiway-upgrade-") as name:
        folder = Path(name)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for file in filter(None, run(listed, cwd=REPOSITORY).stdout.split("\0")):
            if (REPOSITORY / file).is_file():  # a deleted one is listed, too
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / file, folder / file)
        # Some tests ask git for the files of the checkout.
        for command in (["git", "init", "-q"], ["git", "add", "-A"]):
            run(command, cwd=folder)
        yield folder


def _held_back(folder: Path, uv: Uv) -> tuple[str, ...]:
    """`package version (latest: version)` for each requirement that a bound keeps from its newest release."""
    tree = uv.run(folder, "tree", "--frozen", "--outdated", "--depth", "1", seconds=LOCK_SECONDS)
    found = re.findall(r"^[├└]── (\S+) v(\S+).* \(latest: v(\S+)\)$", tree, re.MULTILINE)
    return tuple(sorted({f"{name} {version} (latest: {latest})" for name, version, latest in found}))


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
