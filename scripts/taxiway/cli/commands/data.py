"""Looking at the data: ask in SQL, list and read the lake's files, see what is in quarantine and why."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from taxiway.cli.options import command, pass_checkout, stack_option, stores_of
from taxiway.errors import TaxiwayError, UsageError
from taxiway.targets.target import Checkout

if TYPE_CHECKING:
    from elt.catalogue import Dataset
    from elt.connections import EnvironmentConnections
    from elt.periods import Partition
    from elt.stores.gcs import Lake
    from taxiway.asking.answers import Answer

Function = TypeVar("Function", bound=Callable[..., Any])


def _output_options(function: Function) -> Function:
    """The options that say in which form rows are written, and where."""
    output = click.option(
        "--output", "-o", metavar="FILE", help="Write there; its extension names the format."
    )
    limit = click.option(
        "--limit",
        "-n",
        type=click.IntRange(1),
        default=50,
        show_default=True,
        metavar="N",
        help="How many rows a table shows.",
    )
    form = click.option(
        "--format",
        "form",
        type=click.Choice(("table", "csv", "json", "parquet")),
        show_default="table",
        help="All rows in another form than a table.",
    )
    return form(output(limit(function)))


def _show(answer: Answer, form: str, output: str | None, limit: int) -> None:
    from taxiway.asking import answers
    from taxiway.console.progress import Screen

    if form == "table":
        answers.show(answer, Screen(), limit)
        return
    count = answers.write(answer, form, output)
    if output:
        click.echo(f"{output}: {count:,} rows", err=True)


@command(
    "sql",
    """
  scripts/sql "SELECT COUNT(*) FROM yellow_trips"
  scripts/sql                              a prompt: history and completion
  scripts/sql --on postgres "TABLE zones"
  scripts/sql --on lake "SELECT * FROM quarantine.yellow"
  scripts/sql -o zones.csv "SELECT * FROM zones"      or .json, or .parquet
  scripts/sql --format json <query.sql
Decimals are written as their digits, times as ISO 8601, bytes in base64. In CSV
NULL is nothing and an empty text is "". The lake has a table for each dataset,
and what did not fit into it as quarantine.DATASET.
""",
)
@click.argument("statement", required=False)
@click.option(
    "--on",
    type=click.Choice(("warehouse", "postgres", "lake")),
    default="warehouse",
    show_default=True,
    help="BigQuery, Postgres, or the lake's files by DuckDB.",
)
@_output_options
@click.option("--write", is_flag=True, help="Also run what changes something.")
@stack_option
@pass_checkout
def sql(
    checkout: Checkout,
    statement: str | None,
    on: str,
    form: str | None,
    output: str | None,
    limit: int,
    write: bool,
    stack: str,
) -> int:
    """Run an SQL STATEMENT on the warehouse, Postgres or the lake."""
    from elt.catalogue.registry import DATASETS
    from taxiway.asking.answers import format_of
    from taxiway.asking.generated import say_if_generated
    from taxiway.asking.stores import open_store

    chosen = format_of(form, output)
    if statement is None and not sys.stdin.isatty():
        statement = sys.stdin.read()
    if statement is not None and not statement.strip(" \t\r\n;"):
        raise UsageError("there is no statement", 'Such as: scripts/sql "SELECT 1"')
    connections = stores_of(checkout, stack)
    store = open_store(on, connections)
    if statement is not None:
        few = limit + 1 if chosen == "table" else None
        with store.ask(statement, write=write, few=few) as answer:
            _show(answer, chosen, output, limit)
        say_if_generated(statement, connections)
        return 0
    if output:
        raise UsageError("--output needs a statement", 'Such as: scripts/sql -o a.csv "SELECT 1"')
    from taxiway.asking.shell import Shell, interactive

    few = limit + 1 if chosen == "table" else None
    shell = Shell(store, on, lambda answer: _show(answer, chosen, None, limit), write=write, few=few)
    say_if_generated(" ".join(DATASETS), connections)
    interactive(shell, checkout.home(stack).root / "sql_history")
    return 0


@command(
    "lake",
    """
  scripts/lake ls                            all objects: size, time (UTC), name
  scripts/lake ls typed/yellow/              those below
  scripts/lake head raw/zones/taxi_zone_lookup.csv -n 5
  scripts/lake cat raw/zones/taxi_zone_lookup.csv >zones.csv
head shows the first rows of Parquet, CSV and JSON, also where a .gz is.
""",
)
@click.argument("action", type=click.Choice(("ls", "cat", "head")))
@click.argument("name", default="", metavar="[OBJECT]")
@click.option(
    "--limit", "-n", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Rows of head."
)
@stack_option
@pass_checkout
def lake(checkout: Checkout, action: str, name: str, limit: int, stack: str) -> int:
    """List the lake's objects; show the first rows or all bytes of one."""
    connections = stores_of(checkout, stack)
    name = name.removeprefix(f"gs://{connections.settings.bucket}/")
    if action == "ls":
        return _list(connections, name)
    from taxiway.asking.answers import show
    from taxiway.asking.lake import Files
    from taxiway.console.progress import Screen

    with connections.lake() as found:
        stored = found.find(name) if name else None
        if stored is None:
            raise TaxiwayError(f"{name or 'no name'!r} is no object of the lake", "See scripts/lake ls")
        if action == "cat":
            with found.open(stored) as file:
                return _copy(file, name)
        query = f"SELECT * FROM {{files}} LIMIT {limit}"  # noqa: S608 - a number
        with Files(connections).read(found, [stored], query) as answer:
            show(answer, Screen(), limit)
    return 0


def _list(connections: EnvironmentConnections, prefix: str) -> int:
    from rich.filesize import decimal

    from taxiway.asking.lake import AREAS
    from taxiway.console.progress import plain

    count = size = 0
    with connections.lake() as found:
        for below in [prefix] if prefix else [f"{area}/" for area in AREAS]:
            for stored in found.list(below):
                when = f"{stored.updated:%Y-%m-%d %H:%M}" if stored.updated else ""
                click.echo(f"{decimal(stored.size):>10}  {when:16}  {plain(stored.name)}")
                count, size = count + 1, size + stored.size
    # Beside the lines, which another program may read.
    click.echo(f"{count:,} objects, {decimal(size)}", err=True)
    return 0


def _copy(file: Any, name: str) -> int:
    """Write an object to standard output; what is no text, only where nobody looks at it."""
    from taxiway.console.progress import plain

    terminal, piece = sys.stdout.isatty(), file.read(1 << 20)
    if terminal and b"\0" in piece[: 1 << 16]:
        raise UsageError(f"{name} is not text", f"See scripts/lake head {name}, or send it into a file.")
    while piece:
        if terminal:
            sys.stdout.write(plain(piece.decode(errors="replace"), keep="\n\t"))
        else:
            sys.stdout.buffer.write(piece)
        piece = file.read(1 << 20)
    sys.stdout.flush()
    return 0


@command(
    "quarantine",
    """
  scripts/quarantine yellow 2024-01          how many rows for which reason,
                                             and the first of them
  scripts/quarantine yellow                  of all its periods
  scripts/quarantine yellow 2024-01 -o rows.csv              all rows, in a file
""",
)
@click.argument("dataset")
@click.argument("period", required=False, metavar="[MONTH[..MONTH]]")
@_output_options
@stack_option
@pass_checkout
def quarantine(
    checkout: Checkout,
    dataset: str,
    period: str | None,
    form: str | None,
    output: str | None,
    limit: int,
    stack: str,
) -> int:
    """Show the rows of a DATASET that did not fit, and why."""
    from elt.catalogue.registry import dataset as entry
    from elt.layout import quarantine_object
    from taxiway.asking.answers import format_of, show
    from taxiway.asking.generated import say_if_generated
    from taxiway.asking.lake import QUARANTINE, Files
    from taxiway.console.progress import Screen
    from taxiway.loads import arguments

    chosen, ds = format_of(form, output), entry(dataset)
    every = ds.every is not None and period is None
    words = [dataset, *([period] if period else [])]
    wanted = [] if every else arguments.partitions(arguments.read(words))
    connections = stores_of(checkout, stack)
    with connections.lake() as lake_:
        if every:
            objects = list(lake_.list(f"{QUARANTINE}/{dataset}/"))
        else:
            found = [lake_.find(quarantine_object(ds, partition.period)) for partition in wanted]
            objects = [stored for stored in found if stored]
        if not objects:
            return _nothing_kept(lake_, ds, wanted)
        files = Files(connections)
        if chosen == "table":
            with files.read(lake_, objects, counts(ds)) as answer:
                show(answer, Screen(), limit)
        with files.read(lake_, objects, "SELECT reason, * EXCLUDE reason FROM {files}") as answer:
            _show(answer, chosen, output, limit)
    say_if_generated(dataset, connections)
    return 0


def counts(ds: Dataset) -> str:
    """Rows by their reason without the value that it is about: `Started at … is outside 2024-01`."""
    names = sorted((name for column in ds.columns for name in column.known_names), key=len, reverse=True)
    named = "|".join([*(re.escape(name).replace("'", "''") for name in names), r"\S+"])
    return (  # the names come from the catalogue, which checks them
        rf"SELECT regexp_replace(reason, '(?i)(^|; )({named}) .{{0,60}}? (is (missing|outside|not) ?)', "  # noqa: S608
        r"'\1\2 … \3', 'g') AS reason, COUNT(*) AS "
        '"rows" FROM {files} GROUP BY 1 ORDER BY 2 DESC, 1'
    )


def _nothing_kept(lake_: Lake, ds: Dataset, wanted: list[Partition]) -> int:
    """Say that every row fits, or TaxiwayError where there are none; `wanted` nothing: any of the dataset."""
    from elt.layout import typed_object

    if not wanted:
        if next(lake_.list(f"typed/{ds.name}/"), None) is None:
            raise TaxiwayError(f"{ds.name} is not in the lake", f"Load it: scripts/run {ds.name} {ds.first}")
        wanted_text = ds.name
    else:
        absent = next((p for p in wanted if lake_.find(typed_object(ds, p.period)) is None), None)
        if absent:
            raise TaxiwayError(f"{absent} is not in the lake", f"Load it: scripts/run {absent}")
        wanted_text = ", ".join(map(str, wanted))
    click.echo(f"{wanted_text}: every row fits, none is in quarantine")
    return 0


@command(
    "notebook",
    """
  scripts/notebook                     the one in plugins/*/notebooks
  scripts/notebook mine.py             one of yours; a new one begins with the
                                       rows of the first dataset
  scripts/notebook --port 8888
  scripts/notebook --stack alice       for a stack on Google Cloud
The first call installs marimo into .tools/notebook. It listens on this machine
alone and wants the token in the address that it prints; Ctrl-C ends it.
""",
)
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--port", type=click.IntRange(1, 65535), show_default="a free one", metavar="N", help="Where it listens."
)
@stack_option
@pass_checkout
def notebook(checkout: Checkout, file: Path | None, port: int | None, stack: str) -> int:
    """Open a notebook that is connected to lake, warehouse and Postgres."""
    from elt.catalogue.registry import DATASETS
    from taxiway.asking.notebook import NOTEBOOK, begin, command_line, starter, variables

    given = stores_of(checkout, stack).variables
    file = file or starter(checkout.folder)
    called = command_line(file, port)
    begin(file, DATASETS.values())
    os.execve(called[0], called, variables(given, NOTEBOOK.installed()))  # noqa: S606


COMMANDS = (sql, lake, quarantine, notebook)
