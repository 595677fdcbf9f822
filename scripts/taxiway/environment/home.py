"""One environment of this checkout: its folder, what `up` decided about it, and who may change it now."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from taxiway.errors import TaxiwayError

# As in `lakehouse.outputs`, which the image of Airflow is without.
CREDENTIAL_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
READER_CREDENTIALS = "google_reader_credentials"
# Beside the credential file of tasks, with impersonation: the file with their developer's credentials.
OWN_CREDENTIALS = "google_own_credentials"
REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULT_STACK = "local"
# The `source` of an environment that loads generated months. Its other values: `tlc`, or a URL.
SAMPLE = "sample"


def private_folder(path: Path) -> Path:
    """Make a folder, and those above it, that only its owner may enter; one that is there becomes so."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace `path` in one step; a reader, or a kill, sees the old text or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically and for its owner alone."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`, empty if there is no such file; TaxiwayError if it is not JSON."""
    try:
        loaded: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise TaxiwayError(f"{path} is not JSON: {error}", "Restore the file, or remove it.") from None
    return loaded


class Home:
    """The folder of one stack's environment, named like the stack, and the places in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stack = root.name
        # Beside the folder, which `down` removes while it holds the lock.
        self.lock = root.parent / f"{self.stack}.lock"
        # The stacks' settings, which Pulumi and the checkout's owner write, too.
        self.stack_files = root.parent.parent / "infra" / "stacks"
        # What the infrastructure engines remember, of all stacks. No stack's name begins like this.
        self.engine = root.parent / "_engine"
        # What `up` decided and nothing else remembers: see State.
        self.state = root / "state.json"
        # The variables of the Airflow processes that parse, schedule and run DAGs, the stack's outputs
        # among them: this is where commands find the stores.
        self.environment = root / "environment.json"
        # Those of the API server, which runs no DAG and so does not wait for the outputs; its pages read them
        # in the second file, with the account that only reads where there is one.
        self.api_environment = root / "api-environment.json"
        self.pages_environment = root / "pages-environment.json"
        # Generated once, each file 0600. What Google's libraries sign in with is the stack's; with
        # impersonation the developer's own credentials are apart, for commands and the token server.
        self.secrets = root / "secrets"
        self.own_credentials = self.secrets / OWN_CREDENTIALS
        self.reader_credentials = self.secrets / READER_CREDENTIALS
        # `<component>.log` each, and Airflow's task logs below `tasks/`.
        self.logs = root / "logs"
        self.airflow = root / "airflow"
        # Which components do not answer, since when: see embedded/health.py.
        self.health = root / "health.json"

    @classmethod
    def of(cls, stack: str, checkout: Path = REPOSITORY) -> Self:
        """The environment of `stack` in a checkout; there need not be one."""
        return cls(checkout / ".taxiway" / stack)

    def data(self, component: str) -> Path:
        """Data folder of a service."""
        return self.root / "data" / component

    def secret(self, name: str) -> str:
        """A generated secret, such as `admin_password`."""
        return (self.secrets / name).read_text()

    def variables(self) -> dict[str, str]:
        """By what commands reach the stores: as tasks do, but impersonating without the token server.

        It need not run, and in containers it answers nobody else. A command that a task calls is the task's.
        """
        found = read_json(self.environment)
        of_a_task = CREDENTIAL_FILE in found and os.environ.get(CREDENTIAL_FILE) == found[CREDENTIAL_FILE]
        if of_a_task or not self.own_credentials.exists():
            return found
        return found | {CREDENTIAL_FILE: str(self.own_credentials)}

    @property
    def emulator_token(self) -> str:
        """What the emulators' clients carry; empty in an environment of a release before there was one."""
        file = self.secrets / "emulator_token"
        return file.read_text() if file.exists() else ""


@dataclass(frozen=True)
class State:
    """What `up` decided about an environment and no other file says.

    The stack's project and settings are in its settings file (infra/stacks), its outputs in
    `Home.environment`, its passwords in `Home.secrets`: nothing is kept twice.
    `emulated` is False for a stack on Google Cloud.
    """

    ports: Mapping[str, int]
    source: str = SAMPLE
    engine: str = "in-process"
    target: str = "embedded"
    emulated: bool = True
    schedule_start: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    version: int = 2

    @property
    def api_url(self) -> str:
        """Airflow's UI and API."""
        return f"http://127.0.0.1:{self.ports['api-server']}"

    def save(self, home: Home) -> None:
        """Remember it."""
        for folder in (home.root.parent, home.root, home.engine):
            private_folder(folder)
        write_json(home.state, asdict(self))

    @classmethod
    def load(cls, home: Home) -> Self | None:
        """The environment below `home`; None if there is none.

        Fields that this version does not know are ignored: whatever release made the environment, every
        command can read it, `down` above all.
        """
        stored = read_json(home.state)
        if not stored:
            return None
        if "ports" not in stored:
            raise TaxiwayError(f"{home.state} names no ports", f"Remove {home.root}, then call scripts/up.")
        if stored.get("version", 1) < 2:
            # Version 1 named the project of a stack on Google Cloud; an empty one meant emulators.
            stored["emulated"] = not stored.get("project")
        known = {f.name for f in fields(cls)} - {"version"}
        return cls(**{name: value for name, value in stored.items() if name in known})

    @classmethod
    def require(cls, home: Home) -> Self:
        """The environment below `home`; TaxiwayError if there is none."""
        state = cls.load(home)
        if state is None:
            raise TaxiwayError("there is no environment here yet", "Create one: scripts/up")
        return state


@contextmanager
def exclusive(home: Home, command: str) -> Iterator[None]:
    """Let one command at a time change an environment; TaxiwayError for the second one."""
    while True:
        private_folder(home.lock.parent)
        with home.lock.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                other = lock.read() or "another command"
                raise TaxiwayError(
                    f"scripts/{command} cannot start: {other} is changing this environment",
                    "Wait for it to end, or end it; then call again.",
                ) from None
            # A file that was removed between `open` and `flock` locks nothing: another is made.
            try:
                there = home.lock.stat()
            except FileNotFoundError:
                continue
            if not os.path.samestat(os.fstat(lock.fileno()), there):
                continue
            lock.truncate(0)
            lock.write(f"scripts/{command} (process {os.getpid()})")
            lock.flush()
            try:
                yield
            finally:
                # Nothing is left to be locked: after `down`, or after an `up` that was refused.
                if not home.root.exists():
                    home.lock.unlink(missing_ok=True)
                    with suppress(OSError):
                        home.lock.parent.rmdir()
            return
