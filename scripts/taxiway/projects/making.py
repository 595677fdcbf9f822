"""Make a project in a new folder, whole or not at all, and bring a newer Taxiway into one.

The branch `taxiway` of a project has what scripts/init wrote, and nothing else. An update adds to it what a
newer scripts/init writes under the same name; merging it brings the difference, and conflicts only where both
have changed the same lines.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lakehouse.names import PROJECT
from taxiway.entries.place import is_taken
from taxiway.errors import TaxiwayError, UsageError
from taxiway.projects.rendering import EXAMPLE, package_of, render
from taxiway.projects.repository import answer, check_clean, commit, commit_tree, git

BRANCH = "taxiway"
REMOTE = "upstream"
# With the hash of a name that has to be cut, a service account's has room for no more (lakehouse.names).
LONGEST = 18
# scripts/new looks at a file, which may be large and far away.
NEW_SECONDS = 1800


def check_name(name: str, plugins: Path) -> None:
    """UsageError for a name that a project, its package and its resources cannot all have."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or not 3 <= len(name) <= LONGEST:
        raise UsageError(
            f"{name!r} cannot be a project's name",
            f"Use 3 to {LONGEST} of a-z, 0-9 and single -, a letter first, such as my-project.",
        )
    if re.search("g[o0]{2}g", name) or name == PROJECT:
        raise UsageError(f"{name!r} is a name that Google Cloud or Taxiway has already", "Choose another.")
    if is_taken(package_of(name), plugins):
        raise UsageError(f"Python has a module {package_of(name)}, which it would hide", "Choose another.")


def place(words: str, checkout: Path, *, again: bool = False) -> Path:
    """The folder of a project: a bare name is beside the checkout; UsageError for one that cannot be made.

    `again`: it has its name already, and Python may know its package.
    """
    beside = checkout.parent / words
    target = beside if Path(words).name == words else Path(words).expanduser().absolute()
    if not again:
        check_name(target.name, checkout / "plugins")
    if target.is_relative_to(checkout):
        raise UsageError(f"{target} is inside this checkout", "Name a folder elsewhere.")
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} is there already", "Nothing was changed. Name another folder.")
    return target


def make(checkout: Path, target: Path, *, keep_history: bool = False, first: Sequence[str] = ()) -> str:
    """Make the project, and return the short name of the commit it is made from.

    `first` are words for scripts/new. Everything happens in a folder beside the target, which gets its name
    when it is whole: one that a kill has left is removed by the next call.
    """
    if not (checkout / EXAMPLE).is_dir():
        raise UsageError(
            "this checkout is a project already, or its example is gone",
            "Call scripts/init in a clone of Taxiway. In a project, --update fetches what is new.",
        )
    check_clean(checkout)
    target.parent.mkdir(parents=True, exist_ok=True)
    source = git(checkout, "rev-parse", "--short=12", "HEAD")
    with _workshop(target) as folder:
        git(checkout, "clone", "-q", str(checkout), str(folder / target.name))
        made = folder / target.name
        git(made, "checkout", "-q", "-B", "main")
        git(made, "remote", "remove", "origin")
        if not keep_history:
            shutil.rmtree(made / ".git")
            git(made, "init", "-q", "-b", "main")
        git(made, "remote", "add", REMOTE, _upstream(checkout))
        render(made, target.name)
        git(made, "branch", BRANCH, commit(made, f"Begin {target.name} from Taxiway at {source}"))
        if first:
            _call(made, Path.cwd(), NEW_SECONDS, "new", *first, "--no-load")
            commit(made, f"Add the dataset {first[0]}")
        if target.exists():
            raise UsageError(f"{target} is there by now", "Nothing was changed. Name another folder.")
        made.rename(target)
    return source


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A folder beside the target, on the same disk, for whoever makes that target, and nobody else."""
    folder = target.parent / f".{target.name}.init"
    folder.mkdir(exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.iterdir():
            shutil.rmtree(left)
        yield folder
        shutil.rmtree(folder)
    except BlockingIOError:
        raise TaxiwayError(f"another scripts/init makes {target} now", "Wait for it to end.") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(held)


def _upstream(checkout: Path) -> str:
    """Where this checkout comes from; the checkout itself if it was not cloned."""
    url = answer(checkout, "remote", "get-url", "origin")
    local = (checkout / url).resolve()
    return str(local if not url or local.exists() else url)


def _call(checkout: Path, folder: Path, seconds: int, *arguments: str) -> None:
    """Run a command of another checkout, with the packages that are installed here; it speaks for itself."""
    paths = [str(checkout / name) for name in ("scripts", "plugins", "infra")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "taxiway", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise TaxiwayError(f"{arguments[0]} did not end within {seconds} s") from None
    if done.returncode:
        raise TaxiwayError("nothing was made, for the reason above", "Then call this again.")


def _name(project: Path) -> str:
    """The project's name, as Pulumi.yaml has it: its folder may be called otherwise by now."""
    found = re.search(r"(?m)^name: *(\S+)", (project / "Pulumi.yaml").read_text(encoding="utf-8"))
    return found[1] if found else project.name


def update(project: Path) -> str:
    """Fetch the newest Taxiway onto the branch `taxiway`; its short commit, empty if it is no newer."""
    check_clean(project)
    if git(project, "branch", "--show-current") == BRANCH:
        raise UsageError(f"the branch {BRANCH} is checked out", "git switch main, then call this again.")
    before = answer(project, "rev-parse", "-q", "--verify", f"refs/heads/{BRANCH}")
    url = answer(project, "remote", "get-url", REMOTE)
    if not (before and url):
        raise TaxiwayError(
            f"this checkout has no {'remote ' + REMOTE if before else 'branch ' + BRANCH}",
            "scripts/init makes both: docs/your-own-project.md says how to have them back.",
        )
    with tempfile.TemporaryDirectory(prefix="taxiway-update-") as name:
        newer, again = Path(name, "upstream"), Path(name, _name(project))
        git(project, "clone", "-q", "--depth", "1", url, str(newer))
        _call(newer, newer, NEW_SECONDS, "init", str(again), "--again")
        git(project, "fetch", "-q", str(again), "main")
        tree, source = (
            git(project, "rev-parse", "FETCH_HEAD^{tree}"),
            git(newer, "rev-parse", "--short=12", "HEAD"),
        )
        if tree == git(project, "rev-parse", f"{before}^{{tree}}"):
            return ""
        new = commit_tree(project, tree, before, f"Taxiway at {source}")
        git(project, "update-ref", f"refs/heads/{BRANCH}", new, before)
    return source
