"""A notebook that asks the stores of a stack: what opens it, and what it asks with."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from elt.connections import EnvironmentConnections
from taxiway.asking import answers
from taxiway.asking.generated import say_if_generated
from taxiway.asking.stores import open_store
from taxiway.compose.on_demand import SITE, OnDemand, surroundings, the_one
from taxiway.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from elt.catalogue import Dataset

NOTEBOOK = OnDemand(
    "notebook", Path(__file__).with_name("notebook.txt"), there=f"{SITE}/marimo", megabytes=200
)
# Whoever reaches a notebook may run anything: it listens here alone, and asks for the token that it prints.
# No browser is started: the token would be in the list of processes.
_HOW = ("--host", "127.0.0.1", "--token", "--headless", "--skip-update-check", "--no-sandbox")


_BEGUN = '''"""A notebook of this project's: scripts/notebook opens it."""

import marimo

app = marimo.App(width="medium")


@app.cell
def _():
    import altair as alt

    from taxiway.asking.notebook import ask

    return alt, ask


@app.cell
def _(ask):
    # Or of "postgres", or of the "lake".
    rows = ask("warehouse", "SELECT {what} LIMIT 1000")
    rows
    return (rows,)


if __name__ == "__main__":
    app.run()
'''


def ask(store: str, statement: str) -> pa.Table:
    """All rows of a query, of exact values; `store` is warehouse, postgres or lake.

    As scripts/sql asks, and so only reads. TaxiwayError or elt's errors with the place in the statement.
    """
    connections = EnvironmentConnections()
    with open_store(store, connections).ask(statement) as answer:
        found = answers.table(answer)
    say_if_generated(statement, connections)
    return found


def starter(checkout: Path) -> Path:
    """The one notebook of the packages below plugins/; UsageError where there is none, or more than one."""
    found = sorted(checkout.glob("plugins/*/notebooks/*.py"))
    remedy = "Name one, or a new one: scripts/notebook mine.py"
    return the_one("notebook", "plugins/*/notebooks", found, checkout, remedy)


def command_line(file: Path, port: int | None, python: str = sys.executable) -> list[str]:
    """What edits a notebook, which need not exist; UsageError for a file that cannot be one."""
    if file.suffix != ".py" or not file.absolute().parent.is_dir():
        raise UsageError(f"{file} is no notebook", "It is a Python file in a folder that there is: mine.py")
    where = ("--port", str(port)) if port else ()
    return [python, "-m", "marimo", "edit", *_HOW, *where, str(file)]


def begin(file: Path, datasets: Iterable[Dataset]) -> None:
    """Write a notebook that is not there yet: it asks for the rows of the first table."""
    if not file.exists():
        table = next((ds.table for ds in datasets if ds.tabular), "")
        file.write_text(_BEGUN.replace("{what}", f"* FROM {table}" if table else "1 AS one"))


def variables(stack: Mapping[str, str], installed: Path) -> dict[str, str]:
    """The variables of a notebook's process: a stack's connections, without what is Airflow's own."""
    ours = {name: value for name, value in stack.items() if not name.startswith("AIRFLOW_") or "CONN" in name}
    # Beside .venv, in which everything else is that a notebook imports.
    return surroundings({**ours, "PYTHONPATH": str(installed / SITE)})
