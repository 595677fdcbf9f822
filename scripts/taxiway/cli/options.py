"""What the commands' lines have in common: help that ends with examples, and the options of several."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from taxiway.console.examples import named, names
from taxiway.console.hints import HINTS
from taxiway.environment.home import DEFAULT_STACK, REPOSITORY
from taxiway.targets.target import Checkout

if TYPE_CHECKING:
    from elt.connections import EnvironmentConnections

Function = TypeVar("Function", bound=Callable[..., Any])
# Long enough for a source that is slow, short enough for who waits at a terminal.
PUBLICATION_SECONDS = 20.0
# Where a context keeps the names of datasets that its help is to have, if not those of this checkout.
NAMES = "taxiway.names"
# From the first word that is not ours on, everything belongs to the program behind the command.
PASS_THROUGH = {"ignore_unknown_options": True, "allow_interspersed_args": False}

pass_checkout = click.make_pass_decorator(Checkout)


class Command(click.Command):
    """A command whose help ends with examples, as they are written: one a line, 80 columns at most."""

    def __init__(self, *arguments: Any, examples: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = examples.strip("\n")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples; click would wrap them."""
        known = ctx.meta[NAMES] if NAMES in ctx.meta else names(REPOSITORY / "plugins")
        formatter.write(f"\nexamples:\n{named(self.examples, known)}\n")


def command(name: str, examples: str, **options: Any) -> Callable[[Callable[..., int]], Command]:
    """Declare a command of that name. Its function's docstring is its help, its result the exit code."""
    return click.command(name, cls=Command, examples=examples, **options)


def stack_name(text: str) -> str:
    """A stack's name as Pulumi takes it; a usage error for any other text."""
    # It is also the name of a folder beside `_engine` and the environments' locks; a - begins an option.
    if not re.fullmatch(r"(?!_engine$|.*\.lock$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", text):
        raise click.BadParameter(
            f"{text!r} is not a name of letters, digits and _.-, which begins with none of .-, such as alice"
        )
    return text


def _chosen(_ctx: click.Context, _parameter: click.Parameter, stack: str) -> str:
    HINTS.stack = stack
    return stack


def source_name(text: str) -> str:
    """`sample`, `tlc`, or the URL of a site laid out like TLC's; a usage error for any other text."""
    if text not in ("", "sample", "tlc") and not re.fullmatch(r"https?://[^\s/]+\S*", text):
        raise click.BadParameter(f"{text!r} is neither sample, tlc nor a URL such as http://127.0.0.1:8000")
    if "@" in urlsplit(text).netloc:
        # It would stand in the state, in process lists and on the terminal.
        host = urlsplit(text).netloc.rpartition("@")[2]
        raise click.BadParameter(
            f"{host} is given with a login. Write --source tlc, and put host and login into a connection: "
            "scripts/airflow connections add taxi_source"
        )
    return text.rstrip("/")


def stack_option(function: Function) -> Function:
    """The option that says whose environment is meant."""
    return click.option(
        "--stack",
        default=DEFAULT_STACK,
        show_default=True,
        type=stack_name,
        callback=_chosen,
        metavar="NAME",
        help="Whose environment.",
    )(function)


def infrastructure_options(function: Function) -> Function:
    """The options that say which stack, where it is and what evaluates its program."""
    engine = click.option(
        "--engine",
        type=click.Choice(["in-process", "cli"]),
        show_default="in-process; with --project cli",
        help="What evaluates the program: this process, or the pulumi on PATH.",
    )
    project = click.option(
        "--project",
        default="",
        metavar="ID",
        show_default="local emulators",
        help="Google Cloud project to deploy to.",
    )
    return stack_option(project(engine(function)))


def wait_option(function: Function) -> Function:
    """The option that says how long to wait for a month."""
    return click.option(
        "--wait",
        type=float,
        default=PUBLICATION_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a month that is not published.",
    )(function)


def stores_of(
    checkout: Checkout, stack: str, more: Mapping[str, str] = MappingProxyType({})
) -> EnvironmentConnections:
    """The stores of a stack; `more` are connections beside its own.

    TaxiwayError where they are emulators that do not run.
    """
    from elt.connections import EnvironmentConnections
    from taxiway.environment.home import State

    home = checkout.home(stack)
    # Lake and warehouse on Google Cloud answer whether or not this machine's part runs.
    if State.require(home).emulated:
        checkout.running(stack)
    return EnvironmentConnections({**more, **home.variables()})
