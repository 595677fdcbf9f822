"""For who looks after infrastructure: preview, drift, stacks, env."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from taxiway.cli.options import command, infrastructure_options, pass_checkout, stack_name
from taxiway.console.hints import HINTS
from taxiway.environment.home import DEFAULT_STACK, OWN_CREDENTIALS, State, write_atomically
from taxiway.errors import TaxiwayError
from taxiway.targets.target import Checkout

if TYPE_CHECKING:
    from taxiway.targets.stack import StackSettings

DRIFTED = 5
SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "replace": ("±", "red"), "delete": ("-", "red")}


@command(
    "preview",
    """
  scripts/preview                                      the local stack
  scripts/preview --stack alice --project my-project   one on Google Cloud
""",
)
@infrastructure_options
@pass_checkout
def preview(checkout: Checkout, stack: str, project: str, engine: str | None) -> int:
    """Show what up would change, and the estimated cost of a month."""
    from taxiway.targets.stack import StackSettings

    return show_preview(checkout, StackSettings.chosen(checkout, stack, project, engine or ""))


def show_preview(checkout: Checkout, wanted: StackSettings) -> int:
    """Print the changes and the estimate."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from taxiway.console.progress import Screen, styled
    from taxiway.infrastructure import Endpoints
    from taxiway.infrastructure.cost import estimate, prices, total
    from taxiway.infrastructure.plan import plan
    from taxiway.targets.stack import open_stack

    console = Screen()
    changes = open_stack(checkout, wanted).preview()
    for change in changes:
        console.print(" ", styled(*SIGNS[change.action]), change.title, soft_wrap=True)
        for detail in change.details:
            console.print(f"      {detail}", style="dim", soft_wrap=True)
    console.print(f"{len(changes)} changes" if changes else "Nothing would change.")
    listed, config = prices(), wanted.configuration(checkout.files)
    lines = estimate(plan(wanted.name, config).resources, listed)
    table = Table(
        title=f"Estimated month, list prices of {listed['as_of']}", title_justify="left", box=SIMPLE_HEAD
    )
    for name in ("resource", "US dollars", "assuming"):
        table.add_column(name, justify="right" if name == "US dollars" else "left")
    for line in lines:
        table.add_row(line.title, f"{line.dollars:,.2f}", line.assumption)
    note = "nothing, as long as it is on emulators" if Endpoints.of_config(config) else ""
    table.add_row("in all", f"{total(lines):,.2f}", note)
    console.print(table)
    return 0


@command(
    "drift",
    """
  scripts/drift                    the local stack
  scripts/drift --stack alice      a developer's
exit code: 0 if nothing drifted, 5 if something did
""",
)
@infrastructure_options
@pass_checkout
def drift(checkout: Checkout, stack: str, project: str, engine: str | None) -> int:
    """Show what was changed behind Pulumi's back."""
    from taxiway.console.progress import Screen
    from taxiway.targets.stack import StackSettings, open_stack

    console = Screen()
    wanted = StackSettings.chosen(checkout, stack, project, engine or "")
    opened = open_stack(checkout, wanted)
    # A misspelt name must not pass for a stack that has not drifted.
    if not opened.exists():
        raise TaxiwayError(f"there is no stack {wanted.name}", "List those there are: scripts/stacks")
    found = opened.drift()
    for drifted in found:
        console.print(f"  {drifted.title}", soft_wrap=True)
        for detail in drifted.details:
            console.print(f"      {detail}", soft_wrap=True)
    # Grants are additive: what others granted is theirs to take away.
    back = [drifted for drifted in found if not drifted.stays]
    by_hand = State.load(checkout.home(wanted.name)) is None
    command = "pulumi up --refresh" if by_hand else "scripts/up"
    which = "them" if back == found else f"{len(back)} of them" if back else "none of them"
    sentence = f"{len(found)} drifted; {command} --stack {wanted.name} puts {which} back."
    console.print(sentence if found else "Nothing has drifted.", soft_wrap=True)
    return DRIFTED if found else 0


@command("stacks", "  scripts/stacks                   of this checkout and of your Pulumi backend")
@pass_checkout
def stacks(checkout: Checkout) -> int:
    """List environments: owner, target, age, resources, cost."""
    from rich.box import SIMPLE_HEAD
    from rich.console import JustifyMethod
    from rich.table import Table

    from taxiway.console.progress import Screen
    from taxiway.infrastructure.stacks import stacks as listing

    table = Table(box=SIMPLE_HEAD)
    for name in ("stack", "owner", "target", "age", "last update", "resources", "USD a month"):
        justify: JustifyMethod = "right" if name in ("resources", "USD a month") else "left"
        # Whose it is must be readable whole, however narrow the terminal.
        table.add_column(name, justify=justify, overflow="fold")
    found, failures = listing(checkout.home(DEFAULT_STACK).engine)
    for stack in found:
        cost = "?" if stack.dollars is None else f"{stack.dollars:,.2f}"
        updated, age = stack.updated[:16].replace("T", " "), _age(stack.created)
        table.add_row(stack.name, stack.owner, stack.target, age, updated, str(stack.resources), cost)
    console = Screen()
    console.print(table if found else "There is no environment here. Create one: scripts/up")
    for sentence in failures:
        console.print(sentence, soft_wrap=True)
    return 1 if failures else 0


def _age(created: str) -> str:
    if not created:
        return "?"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    days, hours = divmod(int(seconds // 3600), 24)
    return f"{days} d {hours} h" if days else f"{hours} h {int(seconds % 3600 // 60)} min"


@command(
    "env",
    """
  scripts/env                the stack that Pulumi selected, else local
  scripts/env alice          write .env, and the stack's credential files:
                             google_credentials, google_own_credentials
  scripts/env alice --print  show it with secrets masked; write nothing
""",
)
@click.argument("stack", required=False, type=stack_name)
@click.option("--print", "show", is_flag=True, help="Show it with secrets masked; write nothing.")
@pass_checkout
def env(checkout: Checkout, stack: str | None, show: bool) -> int:
    """Write the outputs of STACK as .env for docker compose."""
    from taxiway.compose import variables as compose
    from taxiway.infrastructure import environment
    from taxiway.targets.stack import StackSettings, default_name, open_stack

    wanted = StackSettings.known(checkout, stack or default_name())
    HINTS.stack = wanted.name
    opened = open_stack(checkout, wanted)
    if not opened.exists():
        raise TaxiwayError(f"there is no stack {wanted.name}", "List those there are: scripts/stacks")
    outputs = opened.outputs()
    if not outputs:
        # `scripts/up` would make a stack of that name on emulators.
        by_hand = State.load(checkout.home(wanted.name)) is None
        command = "pulumi up" if by_hand else "scripts/up"
        raise TaxiwayError(
            f"the stack {wanted.name} has no outputs yet", f"Bring it up: {command} --stack {wanted.name}"
        )
    if show:
        click.echo(compose.lines(environment.masked(outputs)), nl=False)
        return 0
    credentials = compose.write_credentials(checkout.folder, outputs)
    variables = compose.of_stack(wanted.name, outputs, credentials)
    write_atomically(checkout.folder / ".env", compose.lines(variables))
    click.echo(f"wrote {checkout.folder / '.env'} of the stack {wanted.name}")
    if credentials:
        _wait_for_grants(environment.variables(outputs), credentials)
    return 0


def _wait_for_grants(variables: Mapping[str, str], credentials: Mapping[str, Path]) -> None:
    """Return when the stack's account may use lake and warehouse, or it is said that nobody can tell here."""
    from elt.connections import EnvironmentConnections
    from elt.errors import PipelineError
    from lakehouse.outputs import CREDENTIAL_FILE, CREDENTIALS
    from taxiway.loads.access import wait_until_allowed

    # What tasks have asks a server that Compose will start; the developer's own acts as the same account.
    file = credentials.get(OWN_CREDENTIALS) or credentials[CREDENTIALS]
    connections = EnvironmentConnections({**variables, CREDENTIAL_FILE: str(file)})
    say = partial(click.echo, err=True)
    try:
        wait_until_allowed(connections, say)
    except PipelineError as error:
        say(f"whether its account may use lake and warehouse cannot be tried here: {error}")


COMMANDS = (preview, drift, stacks, env)
