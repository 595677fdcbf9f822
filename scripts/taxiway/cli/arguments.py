"""What the command lines of several verbs have in common."""

from __future__ import annotations

import argparse
import re

from elt.months import Month, parse_range
from taxiway.environment.paths import DEFAULT_STACK
from taxiway.errors import UsageError

PUBLICATION_SECONDS = 20.0


def parser(verb: str, does: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose help ends with examples."""
    return argparse.ArgumentParser(
        prog=f"scripts/{verb}",
        description=does,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_stack(parser: argparse.ArgumentParser) -> None:
    """The option that says whose environment is meant."""
    parser.add_argument(
        "--stack", default=DEFAULT_STACK, type=stack, metavar="NAME", help="whose environment (%(default)s)"
    )


def add_infrastructure(parser: argparse.ArgumentParser) -> None:
    """The options that say which stack, where it is and who makes it."""
    add_stack(parser)
    parser.add_argument(
        "--project",
        default="",
        metavar="ID",
        help="put the stack on Google Cloud, in this project (emulators)",
    )
    parser.add_argument(
        "--engine",
        choices=["in-process", "cli"],
        help="who evaluates the program: this process or the pulumi on PATH (in-process; with --project cli)",
    )


def add_wait(parser: argparse.ArgumentParser) -> None:
    """The option that says when to give a month up."""
    parser.add_argument(
        "--wait",
        type=float,
        default=PUBLICATION_SECONDS,
        metavar="SECONDS",
        help="how long to wait for a month that is not published (%(default).0f)",
    )


def engine(chosen: argparse.Namespace) -> str:
    """Name of the engine that was asked for, or that the stack's place asks for."""
    asked: str | None = chosen.engine
    if asked == "in-process" and chosen.project:
        raise UsageError("--engine in-process knows emulators alone", "With --project leave --engine out.")
    return asked or ("cli" if chosen.project else "in-process")


def stack(text: str) -> str:
    """A stack's name; argparse.ArgumentTypeError where it could not name a bucket and an account."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,29}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name of lower-case letters, digits and dashes, such as alice"
        )
    return text


def months(text: str) -> tuple[Month, ...]:
    """`2024-01` or `2024-01..2024-03`; elt.errors.InvalidMonthError otherwise."""
    return parse_range(text)


def source(text: str) -> str:
    """`sample`, `tlc` (its site's URL) or a URL."""
    if text == "tlc":
        from nyc_taxi.tlc import TLC

        return TLC.base_url
    if text != "sample" and not re.fullmatch(r"https?://[^\s/]+\S*", text):
        raise UsageError(
            f"--source {text!r} is neither sample, tlc nor a URL",
            "For example: --source http://127.0.0.1:8000",
        )
    return text.rstrip("/")
