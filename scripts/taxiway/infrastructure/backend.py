"""Where the real engine keeps state and settings, and how its secrets are encrypted."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Final

from taxiway.environment.home import REPOSITORY, write_atomically
from taxiway.infrastructure.engine import EngineError

# Not one `pulumi` of ours asks for newer versions of itself: that takes seconds, and the answer goes unread.
QUIET: Final = {"PULUMI_SKIP_UPDATE_CHECK": "true"}
_LOCK: Final = re.compile(r"created by \S+@(?P<host>\S+) \(pid (?P<pid>[0-9]+)\)")


def own() -> str:
    """Return the URL of the backend that the user chose, by variable or by `pulumi login`; empty: none."""
    if url := os.environ.get("PULUMI_BACKEND_URL"):
        return url
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    try:
        return str(json.loads((home / "credentials.json").read_text()).get("current", ""))
    except (FileNotFoundError, ValueError):
        return ""


def selected() -> str:
    """Return the stack that the user selected in their own backend; empty where there is none."""
    # Heavy, and only for those who have Pulumi.
    from pulumi import automation

    if not own():
        return ""
    # Listing asks for no secret.
    workspace = automation.LocalWorkspace(work_dir=str(REPOSITORY), env_vars=QUIET)
    try:
        current = workspace.stack()
    except automation.CommandError:
        return ""
    return current.name.rsplit("/", 1)[-1] if current else ""


def environment(folder: Path, *, on_emulators: bool, key_service: bool) -> dict[str, str]:
    """Return the variables for `pulumi`: the user's own backend for Google Cloud, else one in the folder.

    Raises EngineError for a shared backend whose stacks need a passphrase that only its users can know.
    """
    names = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")
    if not on_emulators and own():
        if own().startswith("http") or key_service or any(name in os.environ for name in names):
            return dict(QUIET)
        raise EngineError(
            f"Stacks in {own()} are encrypted with a passphrase, and none is set.",
            "Set PULUMI_CONFIG_PASSPHRASE_FILE to the file that holds it.",
        )
    state = folder / "pulumi"
    state.mkdir(parents=True, exist_ok=True)
    # Without side files: Pulumi does not replace them in one step, and a kill between leaves no stack.
    variables = {**QUIET, "PULUMI_BACKEND_URL": f"file://{state}?metadata=skip"}
    if not key_service:
        file = passphrase_file(folder)
        variables[names[1]] = str(file)
        # Pulumi reads this one first, and a variable of the user's shell can be replaced but not taken away.
        variables |= {names[0]: file.read_text()} if names[0] in os.environ else {}
    return variables


def all_environments(folder: Path) -> list[dict[str, str]]:
    """Return the variables for each backend there is: the one in the folder, and the user's own."""
    found = []
    if (folder / "pulumi").exists():
        found.append(environment(folder, on_emulators=True, key_service=False))
    # Listing asks for no secret.
    return found + ([dict(QUIET)] if own() else [])


def passphrase_file(folder: Path) -> Path:
    """Return the file in a folder that holds its passphrase, made at the first call and private."""
    path = folder / "passphrase"
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(32))
    return path


def is_stale(message: str) -> bool:
    """Tell whether the lock in Pulumi's message belongs to a process of this machine that is gone."""
    locks = list(_LOCK.finditer(message))
    return bool(locks) and all(_is_gone(lock["host"], int(lock["pid"])) for lock in locks)


def _is_gone(host: str, pid: int) -> bool:
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # another user's process of that number runs
    return False
