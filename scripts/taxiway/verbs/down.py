"""scripts/down: stop everything, remove the environment, prove that nothing is left."""

from __future__ import annotations

import shutil

from rich.console import Console

from taxiway import components
from taxiway.embedded import Embedded
from taxiway.errors import TaxiwayError
from taxiway.paths import REPOSITORY, Home
from taxiway.ports import is_free
from taxiway.progress import Progress
from taxiway.state import State, exclusive
from taxiway.supervise import end_strays, stray_processes
from taxiway.verbs import _arguments

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
    if not home.root.exists():
        console.print("There is no environment here: nothing to remove.")
        return 0
    state = State.load(home)
    with exclusive(home, "down"):
        removed = _stop(home, state, progress, keep)
        if not keep:
            removed += _remove_environment_files(state)
            shutil.rmtree(home.root)
            removed.append(str(home.root))
            _forget_engine(home)
    _prove(home, state, progress, keep)
    for thing in removed:
        console.print(f"  removed  {thing}")
    console.print("Everything is stopped; data kept." if keep else "Nothing is left.")
    return 0


def _stop(home: Home, state: State | None, progress: Progress, keep: bool) -> list[str]:
    """Airflow first, then what the stack holds, then the services; returns what is gone."""
    removed: list[str] = []
    if state:
        environment = Embedded(home, state, progress)
        supervisor = environment.supervisor
        if supervisor.pid():
            running = [name for name, s in supervisor.states().items() if s == "RUNNING"]
            if not keep:
                removed += _destroy(environment)
            with progress.phase("processes are stopped"):
                supervisor.stop()
            removed += [f"process  {name}" for name in running]
    removed += [f"process  {name}" for name in end_strays(home)]
    return removed


def _destroy(environment: Embedded) -> list[str]:
    """Remove what the stack created, then ask the emulators whether anything is left of it."""
    environment.supervisor.stop_components(components.AIRFLOW)
    engine = environment.engine
    try:
        with environment.progress.phase("infrastructure is destroyed"):
            gone = engine.destroy()
            left = engine.leftovers()
    except TaxiwayError as error:
        if environment.state.project:
            raise
        # The emulators keep everything below the folder that is removed next.
        environment.progress.say(f"the emulators could not be asked ({error}); their data goes anyway")
        return []
    if left:
        raise TaxiwayError(f"the stack left something behind: {', '.join(left)}", "Call scripts/down again.")
    return gone


def _remove_environment_files(state: State | None) -> list[str]:
    """Remove what scripts/env wrote for this stack; another stack's stays."""
    written = REPOSITORY / ".env"
    bucket = f"GCP_GCS_BUCKET={state.outputs.get('GCP_GCS_BUCKET')}\n" if state else ""
    if not bucket or not written.exists() or bucket not in written.read_text():
        return []
    files = [file for file in (written, REPOSITORY / "google_credentials") if file.exists()]
    for file in files:
        file.unlink()
    return [str(file) for file in files]


def _forget_engine(home: Home) -> None:
    """Remove what the engines remember once no stack is left that it is about."""
    others = [folder for folder in home.root.parent.iterdir() if folder != home.engine]
    states = [*home.engine.glob("*.json"), *home.engine.glob("pulumi/.pulumi/stacks/**/*.json")]
    if not others and not states:
        shutil.rmtree(home.root.parent)


def _prove(home: Home, state: State | None, progress: Progress, keep: bool) -> None:
    """Look from outside: no process, no port, no file."""
    strays = stray_processes(home)
    left = [f"process {p.pid} {p.name()}" for p in strays]
    busy = {name: port for name, port in (state.ports if state else {}).items() if not is_free(port)}
    for name, port in busy.items():
        if strays:
            left.append(f"port {port} ({name})")
        else:
            progress.say(f"port {port}, where {name} was, is another program's by now")
    if home.root.exists() and not keep:
        left.append(f"folder {home.root}")
    if left:
        raise TaxiwayError(f"something is left: {', '.join(left)}", "Call scripts/down again.")
    progress.say("looked for processes, ports and files: none is left", "done")
