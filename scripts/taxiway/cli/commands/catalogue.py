"""Entries of the catalogue: written from a file, exchanged as data contracts, compared with the stores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taxiway.cli.commands.airflow import complete_dataset
from taxiway.cli.options import command, pass_checkout, stack_option
from taxiway.errors import UsageError
from taxiway.targets.target import Checkout

if TYPE_CHECKING:
    from elt.evolution import Change
    from taxiway.console.progress import Progress
    from taxiway.entries.contract import Read
    from taxiway.entries.guess import Ask, Guess, Wanted

# Exit code: something is not as it is described.
DRIFTED = 5
_FORMATS = ("parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "any")
_GRAINS = ("hour", "day", "month", "year", "none")


@command(
    "new",
    """
  scripts/new bikes https://example.com/bikes_2024-01.csv
  scripts/new stations my-data/stations.csv --key nr
  scripts/new trips https://example.com/trips.csv --type zip=string
  scripts/new rides s3://bucket/rides_2024-01.csv --connection partner
  scripts/new orders --connection shop --table public.orders
  scripts/new --from bikes.odcs.yaml       from an Open Data Contract
It writes plugins/PACKAGE/datasets/NAME.py, with what it saw as comments, and
loads one file if the platform runs. Without a terminal it asks nothing, and
says what it took for granted.
""",
)
@click.argument("name", required=False)
@click.argument("address", required=False)
@click.option(
    "--from", "contract", type=click.Path(path_type=Path), help="A data contract (ODCS) instead of a file."
)
@click.option("--key", default="", metavar="COLUMN", help="The column that no row may lack.")
@click.option(
    "--every",
    default="",
    type=click.Choice(["", *_GRAINS]),
    metavar="hour|day|month|year|none",
    help="How often there is a file.",
)
@click.option("--type", "types", multiple=True, metavar="COLUMN=TYPE", help="The type of a column.")
@click.option("--delimiter", default="", help="Between the values of a CSV file.")
@click.option(
    "--format",
    "form",
    default="",
    type=click.Choice(["", *_FORMATS]),
    metavar="FORMAT",
    help=f"One of {', '.join(_FORMATS)}.",
)
@click.option("--url", default="", help="Where a local file is, or will be, published.")
@click.option(
    "--connection", default="", metavar="ID", help="The Airflow connection with its login or headers."
)
@click.option("--table", default="", help="A table of the database of --connection, instead of a file.")
@click.option("--package", default="", metavar="NAME", help="The folder of plugins/ to write into.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--no-load", is_flag=True, help="Load nothing.")
@stack_option
@pass_checkout
def new(
    checkout: Checkout,
    /,
    name: str | None,
    address: str | None,
    contract: Path | None,
    force: bool,
    package: str,
    no_load: bool,
    stack: str,
    **given: Any,
) -> int:
    """Look at the file at ADDRESS and write an entry: the dataset NAME."""
    from elt.catalogue.checks import Packages
    from elt.catalogue.registry import DATASETS, MARTS
    from taxiway.console.progress import Progress
    from taxiway.entries import place, text
    from taxiway.entries.contract import read

    progress = Progress()
    packages = Packages(checkout.folder / "plugins")
    if contract is not None:
        found: Guess | Read = read(contract, name or "", address or "")
        name = found.dataset.name
    else:
        if not name or not (address or given["table"]):
            raise click.UsageError("give the NAME of the dataset and the ADDRESS of one of its files")
        place.check_name(name)
        # Before anything is downloaded: what cannot be written need not be looked at.
        place.entry_file(name, place.package_for(name, package, packages), packages, force=force)
        wanted, variables = _wanted(name, given), _variables(checkout, stack)
        if given["table"]:
            found = _from_table(given["table"], wanted, variables, progress)
        else:
            found = _from_file(str(address), wanted, variables, progress)
    package = place.package_for(name, package, packages)
    file = place.entry_file(name, package, packages, force=force)
    written = text.module(found.dataset, found.about, found.comments)
    place.check_entry(found.dataset, file, packages, DATASETS, MARTS, written)
    place.write(file, written)
    for note in found.notes:
        progress.say(note, style="yellow")
    progress.say(f"written: {packages.shown(file)}", "done")
    click.echo(written)
    words = [found.dataset.name, *([str(found.period)] if found.period else [])]
    return 0 if no_load else _load(checkout, stack, words, progress)


def _wanted(name: str, given: dict[str, Any]) -> Wanted:
    """The options, checked."""
    from taxiway.entries.address import check_secrets
    from taxiway.entries.guess import Wanted

    types = dict[str, str]()
    for each in given["types"]:
        column, equals, kind = each.rpartition("=")
        if not (column and equals):
            raise UsageError(f"--type {each} is no column and type", "Write it like --type zip=string.")
        types[column] = kind
    if given["url"]:
        check_secrets(given["url"])
    return Wanted(
        name,
        key=given["key"],
        every=given["every"],
        types=types,
        delimiter=given["delimiter"].replace("\\t", "\t"),
        format=given["form"] or None,
        url=given["url"],
        connection=given["connection"],
    )


def _from_table(name: str, wanted: Wanted, variables: Mapping[str, str], progress: Progress) -> Guess:
    """Look at a table of a database."""
    from elt.catalogue import Database
    from taxiway.entries.guess import NONE, connection_of, guess_table
    from taxiway.entries.tables import Table

    grain = wanted.every if wanted.every != NONE else ""
    if not wanted.connection or (grain and not wanted.key):
        raise UsageError(
            f"--table {name} needs {'--key, the time of a row' if wanted.connection else '--connection'}",
            "Write it like --connection shop --table public.orders --every day --key ordered_at.",
        )
    source = Database(wanted.connection, name, cursor=wanted.key if grain else "")
    table = Table(wanted.connection, connection_of(wanted.connection, variables), name)
    period = table.first(wanted.key, grain) if grain else None  # type: ignore[arg-type]
    wanted = replace(wanted, types={**table.types(), **wanted.types})
    with table.sample(wanted.key, period) as sample:
        return guess_table(sample, source, period, wanted, _asking(progress))


def _from_file(address: str, wanted: Wanted, variables: Mapping[str, str], progress: Progress) -> Guess:
    """Look at a file."""
    from taxiway.entries.address import check_secrets
    from taxiway.entries.guess import guess, place
    from taxiway.entries.sample import take

    check_secrets(address)
    if "{" in address:
        raise UsageError(f"{address} is not the address of one file", "Name a file that is there.")

    with (
        place(address, wanted, variables) as publisher,
        take(address, publisher, wanted.format, wanted.delimiter) as sample,
    ):
        return guess(sample, address, wanted, _asking(progress))


def _asking(progress: Progress) -> Ask:
    """Asks at a terminal; elsewhere it takes the default, and says so."""

    def ask(question: str, answers: Sequence[str], default: str) -> str:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            others = f" (of {', '.join(answers)})" if len(answers) > 1 else ""
            progress.say(f"{question} Taken: {default}{others}", style="yellow")
            return default
        return str(click.prompt(question, type=click.Choice(list(answers)), default=default, err=True))

    return ask


def _variables(checkout: Checkout, stack: str) -> dict[str, str]:
    """The variables of the shell and of the environment, if there is one: where connections are."""
    return {**os.environ, **checkout.home(stack).variables()}


def _load(checkout: Checkout, stack: str, words: Sequence[str], progress: Progress) -> int:
    """Load what was looked at and show it, if the platform runs; else say what does."""
    from taxiway.environment.home import State
    from taxiway.loads.runner import GIVE_UP_SECONDS

    line = f"scripts/run {' '.join(words)}"
    is_there = State.load(checkout.home(stack)) is not None
    if not is_there or not checkout.platform(stack).running():
        progress.say(f"The platform does not run. Load it with: scripts/up, then {line}")
        return 0
    # In a process of its own: this one has read the catalogue before the entry was in it.
    called = [sys.executable, "-m", "taxiway", "run", *words, "--stack", stack]
    code = subprocess.run(called, check=False, timeout=GIVE_UP_SECONDS).returncode
    if code == 0:
        _show(checkout, stack, words)
    return code


def _show(checkout: Checkout, stack: str, words: Sequence[str]) -> None:
    """The first rows of a table, in the warehouse."""
    from elt.connections import EnvironmentConnections
    from elt.errors import PipelineError
    from taxiway.console.progress import Screen
    from taxiway.console.tables import show_rows

    name = words[0]
    with EnvironmentConnections(_variables(checkout, stack)).warehouse() as warehouse:
        try:
            rows = warehouse.head(name, 5)
        except PipelineError:
            return  # a file that is no table
    show_rows(Screen(), f"Rows of {name}", rows)


@command(
    "contract",
    """
  scripts/contract bikes                   to the terminal
  scripts/contract bikes >bikes.odcs.yaml  to a file
Open Data Contract Standard 3.0. scripts/new --from reads one.
""",
)
@click.argument("name", metavar="DATASET", shell_complete=complete_dataset)
def contract(name: str) -> int:
    """Write the entry of DATASET as an Open Data Contract."""
    from elt.catalogue.registry import dataset
    from taxiway.entries.contract import write

    click.echo(write(dataset(name)), nl=False)
    return 0


@command(
    "schema",
    """
  scripts/schema bikes             what differs in the lake, the warehouse and
                                   Postgres, and what to do about it
  scripts/schema bikes --apply     does what is safe: adds empty columns, and
                                   makes numbers wider
  scripts/schema                   of every dataset
exit code: 0 if every table is as the catalogue says, 5 if one is not
""",
)
@click.argument("names", nargs=-1, metavar="[DATASET]…", shell_complete=complete_dataset)
@click.option("--apply", "act", is_flag=True, help="Do what is safe, in the stores.")
@stack_option
@pass_checkout
def schema(checkout: Checkout, names: tuple[str, ...], act: bool, stack: str) -> int:
    """Compare the entries of datasets with the tables of each store."""
    from elt import evolution
    from elt.catalogue.registry import DATASETS, NO_DATASET, dataset
    from taxiway.console.progress import Progress
    from taxiway.loads.service import Loads

    wanted = [dataset(name) for name in names] or list(DATASETS.values())
    progress = Progress()
    connections = Loads.of(checkout.running(stack, progress), progress).connections
    differs = False
    if not wanted:
        click.echo(NO_DATASET)
    for entry in (entry for entry in wanted if entry.tabular):
        for change in evolution.apply(connections, entry) if act else ():
            progress.say(f"{entry.name}, {change.store}: {change.statement}", "done")
        for found in evolution.compare(connections, entry):
            if not found.changes:
                click.echo(
                    f"{entry.name}, {found.store}: {'as described' if found.there else 'no table yet'}"
                )
            for change in found.changes:
                # Files of an earlier schema are read as they are: the next load makes them new.
                differs = differs or change.store != "lake"
                click.echo(_told(entry.name, change))
    return DRIFTED if differs else 0


def _told(name: str, change: Change) -> str:
    lines = [f"{name}, {change.store}: {f'{change.column} ' if change.column else ''}{change.what}"]
    if change.statement:
        lines.append(f"    {' '.join(change.statement.split())}")
    lines.append(f"    {change.remedy or f'Safe: scripts/schema {name} --apply does it.'}")
    return "\n".join(lines)


COMMANDS = (new, contract, schema)
