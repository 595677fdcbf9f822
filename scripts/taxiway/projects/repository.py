"""git, as this room needs it."""

from __future__ import annotations

import os
from pathlib import Path

from taxiway.errors import TaxiwayError
from taxiway.waiting import run

# A clone over a slow network; everything else takes a second.
SECONDS = 1800
# git sets these for hooks: the repository that is meant is always named.
_NAMED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def git(folder: Path, *arguments: str) -> str:
    """What git prints, without its last line feed; TaxiwayError with git's own reason if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in _NAMED}
    # Nobody would see the question, and wait.
    environment["GIT_TERMINAL_PROMPT"] = "0"
    try:
        done = run(["git", *arguments], SECONDS, "Try it alone.", cwd=folder, env=environment)
    except FileNotFoundError:
        raise TaxiwayError("git is not on PATH", "Install it, then call this again.") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise TaxiwayError(f"git {arguments[0]} failed in {folder}: {reason}", "Then call this again.")
    return done.stdout.rstrip("\n")


def answer(folder: Path, *arguments: str) -> str:
    """What git prints; empty if it fails."""
    try:
        return git(folder, *arguments)
    except TaxiwayError:
        return ""


def check_clean(folder: Path) -> None:
    """TaxiwayError unless all of a checkout is committed: what is not would be left behind."""
    top = answer(folder, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != folder.resolve():
        raise TaxiwayError(
            f"{folder} is no git repository of its own, and what is committed is what is copied",
            "Clone Taxiway with git, and call scripts/init there.",
        )
    if changed := git(folder, "status", "--porcelain").splitlines():
        first = changed[0][3:]
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise TaxiwayError(
            f"{first}{others} in {folder} would be left behind: not committed",
            "Commit it, or put it away: git stash -u",
        )


def commit(folder: Path, message: str) -> str:
    """Commit all that is in the folder, and return the commit; by `taxiway` where git knows no name."""
    who = () if answer(folder, "config", "user.email") else _NOBODY
    git(folder, "add", "-A")
    git(folder, *who, "commit", "-q", "--no-verify", "-m", message)
    return git(folder, "rev-parse", "HEAD")


_NOBODY = ("-c", "user.name=taxiway", "-c", "user.email=taxiway@localhost")


def commit_tree(folder: Path, tree: str, parent: str, message: str) -> str:
    """A commit of a tree that is there already, without touching what is checked out."""
    who = () if answer(folder, "config", "user.email") else _NOBODY
    return git(folder, *who, "commit-tree", tree, "-p", parent, "-m", message)
