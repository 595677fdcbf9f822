"""For programs that ask on somebody's behalf: the Model Context Protocol."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

import click

from taxiway.cli.options import command, pass_checkout, stack_option, stores_of
from taxiway.targets.target import Checkout


@command(
    "mcp",
    """
  scripts/mcp                    tools that read: query, tables, datasets,
                                 status, quarantine, logs
  scripts/mcp --allow-run        and run, which loads
  scripts/mcp --stack alice      a stack on Google Cloud
  scripts/mcp </dev/null         installs what it needs, and ends
A client starts it and speaks with it on standard input and output:
docs/asking.md has the settings of some. The first call installs the SDK into
.tools/mcp.
""",
)
@click.option("--allow-run", is_flag=True, help="Also offer a tool that loads months.")
@stack_option
@pass_checkout
def mcp(checkout: Checkout, allow_run: bool, stack: str) -> int:
    """Serve the stack to an agent, over the Model Context Protocol."""
    from taxiway.asking.mcp_server import Tools, serve
    from taxiway.cli.main import main

    def called(arguments: Sequence[str]) -> tuple[int, str, str]:
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            code = main([*arguments], checkout, wrapped=True)
        return code, output.getvalue(), errors.getvalue()

    serve(Tools(checkout, stack, lambda: stores_of(checkout, stack), called), allow_run=allow_run)
    return 0


COMMANDS = (mcp,)
