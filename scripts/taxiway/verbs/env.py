"""scripts/env: a stack's outputs as the environment that Compose reads."""

from __future__ import annotations

import shlex

from taxiway.errors import TaxiwayError
from taxiway.files import write_atomically
from taxiway.paths import DEFAULT_STACK, REPOSITORY
from taxiway.stack import StackSettings, open_stack
from taxiway.verbs import _arguments

EXAMPLES = """\
  scripts/env alice                write .env (and google_credentials, where the stack has a credential file)
  scripts/env alice --print        show it, secrets masked; write nothing"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("env", "Write a stack's outputs as .env for docker compose.", EXAMPLES)
    parser.add_argument("name", nargs="?", default=DEFAULT_STACK, type=_arguments.stack, metavar="STACK")
    parser.add_argument("--print", action="store_true", help="show it with secrets masked, write nothing")
    chosen = parser.parse_args(arguments)
    wanted = StackSettings.known(chosen.name)
    with open_stack(wanted) as engine:
        outputs = engine.outputs()
    if not outputs:
        raise TaxiwayError(
            f"the stack {chosen.name} has no outputs yet", f"Create it: scripts/up --stack {chosen.name}"
        )
    from taxiway.engines import environment

    if chosen.print:
        print(_lines(environment.masked(outputs)), end="")  # noqa: T201 - its output
        return 0
    content = environment.credential_file(outputs)
    if content is not None:
        write_atomically(REPOSITORY / "google_credentials", content)
    # On Google Cloud the emulator services stay out of the way.
    switch = {} if "STORAGE_EMULATOR_HOST" in outputs else {"EMULATORS_OFF": "1"}
    write_atomically(REPOSITORY / ".env", _lines({**environment.variables(outputs), **switch}))
    print(f"wrote {REPOSITORY / '.env'}")  # noqa: T201 - its output
    return 0


def _lines(variables: dict[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
