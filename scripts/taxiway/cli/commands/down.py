"""scripts/down: stop everything, remove the environment, prove that nothing is left."""

from __future__ import annotations

import shutil

from rich.console import Console

from taxiway.cli import arguments as _arguments
from taxiway.compose import dotenv
from taxiway.console.progress import Progress
from taxiway.embedded.supervisor import end_strays
from taxiway.environment.paths import REPOSITORY, Home
from taxiway.environment.state import State, exclusive
from taxiway.errors import TaxiwayError
from taxiway.infrastructure.teardown import destroy
from taxiway.targets.stack import StackSettings, made_by_hand, open_stack
from taxiway.targets.target import Target, target_of

EXAMPLES = """\
  scripts/down                 processes, buckets, datasets, files: all removed, then looked for
  scripts/down --keep-data     stop the processes; scripts/up goes on with the data"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("down", "Stop everything, remove the environment and prove it.", EXAMPLES)
    parser.add_argument("--keep-data", action="store_true", help="stop, but keep data, secrets and ports")
    _arguments.add_stack(parser)
    chosen = parser.parse_args(arguments)
    home, progress, console = Home.of(chosen.stack), Progress(), Console(highlight=False)
    keep: bool = chosen.keep_data
    by_hand = not keep and made_by_hand(chosen.stack)
    if not home.root.exists() and not by_hand:
        _forget_engine(home)
        console.print("There is no environment here: nothing to remove.")
        return 0
    state = State.load(home)
    target = target_of(home, state, progress) if state else None
    with exclusive(home, "down"):
        removed = target.stop(keep=keep) if target else [f"process  {name}" for name in end_strays(home)]
        if not keep:
            if by_hand or (state and state.project):
                removed += _destroy(chosen.stack, progress)
            removed += _remove_environment_files(chosen.stack)
            shutil.rmtree(home.root)
            removed.append(str(home.root))
            _forget_engine(home)
    _prove(target, home, progress, keep)
    for thing in removed:
        console.print(f"  removed  {thing}", soft_wrap=True)
    console.print("Everything is stopped; data kept." if keep else "Nothing is left.")
    return 0


def _destroy(stack: str, progress: Progress) -> list[str]:
    """Destroy a stack whose emulators no target runs: it is on Google Cloud, or somebody's own."""
    with open_stack(StackSettings.known(stack)) as engine, progress.phase("infrastructure is destroyed"):
        return destroy(engine)


def _remove_environment_files(stack: str) -> list[str]:
    """Remove what scripts/env wrote for this stack; another stack's stays."""
    written = REPOSITORY / ".env"
    if dotenv.read(written).get("TAXIWAY_STACK") != stack:
        return []
    files = [file for file in (written, REPOSITORY / "google_credentials") if file.exists()]
    for file in reversed(files):  # .env last: it says whose the other is
        file.unlink()
    return [str(file) for file in files]


def _forget_engine(home: Home) -> None:
    """Remove what the engines remember once no stack is left that it is about."""
    if not home.root.parent.exists():
        return
    others = [folder for folder in home.root.parent.iterdir() if folder != home.engine]
    states = [*home.engine.glob("*.json"), *home.engine.glob("pulumi/.pulumi/stacks/**/*.json")]
    if not others and not states:
        shutil.rmtree(home.root.parent)


def _prove(target: Target | None, home: Home, progress: Progress, keep: bool) -> None:
    """Look from outside: no process, no port, no container, no file."""
    left = target.left(keep=keep) if target else []
    if home.root.exists() and not keep:
        left.append(f"folder {home.root}")
    if left:
        raise TaxiwayError(f"something is left: {', '.join(left)}", "Call scripts/down again.")
    progress.say("looked for what may be left: nothing is", "done")
