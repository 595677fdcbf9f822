"""scripts/env: a stack's outputs as the environment that Compose reads."""

from __future__ import annotations

from taxiway.cli import arguments as _arguments
from taxiway.compose import dotenv
from taxiway.environment.files import write_atomically
from taxiway.environment.paths import REPOSITORY
from taxiway.errors import TaxiwayError
from taxiway.targets.stack import StackSettings, default_name, open_stack

EXAMPLES = """\
  scripts/env                      the stack of this checkout, else the one selected in Pulumi
  scripts/env alice                write .env (and google_credentials, where the stack has a credential file)
  scripts/env alice --print        show it, secrets masked; write nothing"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("env", "Write a stack's outputs as .env for docker compose.", EXAMPLES)
    parser.add_argument("name", nargs="?", type=_arguments.stack, metavar="STACK", help="whose outputs")
    parser.add_argument("--print", action="store_true", help="show it with secrets masked, write nothing")
    chosen = parser.parse_args(arguments)
    wanted = StackSettings.known(chosen.name or default_name())
    with open_stack(wanted) as engine:
        outputs = engine.outputs()
    if not outputs:
        raise TaxiwayError(
            f"the stack {wanted.name} has no outputs yet", f"Create it: scripts/up --stack {wanted.name}"
        )
    from taxiway.infrastructure import environment

    if chosen.print:
        print(dotenv.lines(environment.masked(outputs)), end="")  # noqa: T201 - its output
        return 0
    file, content = REPOSITORY / "google_credentials", environment.credential_file(outputs)
    credentials = dotenv.write_credentials(file, content)
    if credentials is None:
        file.unlink(missing_ok=True)  # of the stack before this one
    variables = dotenv.of_stack(wanted.name, outputs, credentials)
    write_atomically(REPOSITORY / ".env", dotenv.lines(variables))
    print(f"wrote {REPOSITORY / '.env'}")  # noqa: T201 - its output
    return 0
