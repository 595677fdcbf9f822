"""The platform's life: up, status, logs, down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from taxiway.cli.options import (
    command,
    infrastructure_options,
    pass_checkout,
    source_name,
    stack_option,
    wait_option,
)
from taxiway.console.examples import names
from taxiway.console.hints import HINTS
from taxiway.environment.home import DEFAULT_STACK, REPOSITORY, Home, State, exclusive
from taxiway.environment.secrets import REQUIRE_AUTH
from taxiway.errors import TaxiwayError, UsageError
from taxiway.targets.target import TARGETS, Checkout, target_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elt.periods import Partition
    from taxiway.console.progress import Progress
    from taxiway.loads.service import Loads
    from taxiway.targets.target import Target

# What complains where a file of DAGs does not import.
DAGS = "DAGs"


@command(
    "up",
    """
  scripts/up                                 everything, on this machine
  scripts/up --months 2024-01..2024-06       more of them
  scripts/up --source tlc --months 2024-01   the real ones from TLC's site
  scripts/up --source http://127.0.0.1:8000  a mirror laid out like that site
  scripts/up --stack alice --preview         changes and cost; changes nothing
  scripts/up --stack alice --project acme    lake and warehouse on Google Cloud,
                                             Airflow here
  scripts/up --stack alice --project acme --on vm    Airflow on a machine there
""",
)
@click.option(
    "--months", metavar="M[..M]", show_default="as the packages declare", help="Months to load first."
)
@click.option(
    "--source",
    default="",
    type=source_name,
    metavar="SOURCE",
    show_default="sample; with --project tlc",
    # A project without the example has nothing that it could choose the source of.
    hidden=bool(names(REPOSITORY / "plugins")),
    help="Of the example's data: sample, tlc, or the URL of a mirror.",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    show_default="embedded",
    help="Where Airflow runs: processes of this machine, or containers.",
)
@click.option("--on", type=click.Choice(["vm"]), help="Run Airflow on a machine of the stack's, for good.")
@infrastructure_options
@click.option("--preview", is_flag=True, help="Show what would change, and change nothing.")
@wait_option
@pass_checkout
def up(
    checkout: Checkout,
    months: str | None,
    source: str,
    target: str | None,
    on: str | None,
    stack: str,
    project: str,
    engine: str | None,
    preview: bool,
    wait: float,
) -> int:
    """Start the whole platform and load the first months."""
    from taxiway.cli.commands.infrastructure import show_preview
    from taxiway.console.progress import Progress
    from taxiway.environment.machine import Machine
    from taxiway.loads import arguments
    from taxiway.targets.stack import StackSettings

    if on:
        if months or source or target or engine or preview:
            raise UsageError(
                "--on vm takes --stack and --project alone",
                "To see its price: pulumi config set taxiway:runner true, then scripts/preview.",
            )
        return _deploy(checkout, stack, project)
    if preview:
        return show_preview(checkout, StackSettings.chosen(checkout, stack, project, engine or ""))
    home, progress = checkout.home(stack), Progress()
    known = State.load(home)
    # What an environment was made with holds until another is named: `up` again changes nothing.
    target = target or (known.target if known else "embedded")
    wanted = StackSettings.wanted(checkout, stack, project, engine or "", target)
    source = source or (known.source if known else "tlc" if wanted.project else "sample")
    first = arguments.first_load(months)
    wanted.check(checkout.files)

    # The stores' clients: a wrong command line needs none.
    from taxiway.airflow.bootstrap import open_datasets
    from taxiway.loads.access import wait_until_allowed
    from taxiway.loads.service import Loads

    with exclusive(home, "up"):
        Machine.at(home.root.parent).check()
        place = target_class(target)
        platform = place.prepare(
            home, progress, source=source, engine=wanted.engine, project=wanted.project
        ).start()
        loads = Loads.of(platform, progress)
        loads.report_problems()
        if empty := arguments.nothing_first(months):
            progress.say(empty, style="yellow")
        if not platform.state.emulated:
            wait_until_allowed(loads.connections, progress.say)
        if first:
            open_datasets(loads.api, {partition.dataset for partition in first})
        code = loads.load(first, wait) if first else 0
    _show_up(platform, loads, first)
    return loads.conclude(code)


def _deploy(checkout: Checkout, stack: str, project: str) -> int:
    """Bring up a stack with a runner, and this checkout on it. Nothing of it is remembered here."""
    from lakehouse.settings import project_of
    from taxiway.console.progress import Progress
    from taxiway.targets.runner import READY_SECONDS, Runner
    from taxiway.targets.stack import StackSettings
    from taxiway.waiting import Patience

    home, progress = checkout.home(stack), Progress()
    project = project or project_of(checkout.files.read(stack))
    if not project or State.load(home):
        raise UsageError(
            f"the stack {stack} is here as {'a platform of this machine' if project else 'one on emulators'}",
            "Take it down first (scripts/down), or name another with its project: --stack NAME --project ID",
        )
    config = {"taxiway:project": project, "taxiway:runner": "true"}
    settings = StackSettings(stack, project, "cli").check(checkout.files, config)
    runner = Runner.of(stack, settings, folder=checkout.folder)
    runner.check()
    with exclusive(home, "up"):
        with progress.phase("infrastructure is up (Pulumi program, cli)"):
            checkout.open_engine("cli", stack, None, home.engine, config, checkout.files).up()
        with progress.phase("the image is built and pushed"):
            runner.push()
        with progress.phase(f"services are up and healthy on {runner.name}"):
            runner.restart(Patience(READY_SECONDS, remind=progress.say, every=10))
    for step, what in runner.next_steps().items():
        click.echo(f"{step}\n    {what}")
    return 0


def _show_up(platform: Target, loads: Loads, first: Sequence[Partition]) -> None:
    """What is loaded, where Airflow is, and what to type next."""
    from rich.text import Text

    from elt.periods import Partition
    from taxiway.console.progress import Screen
    from taxiway.console.tables import show_datasets, show_rows
    from taxiway.loads.arguments import next_load

    console = Screen()
    console.print()
    rows = loads.status()
    show_datasets(console, rows)
    there = [Partition.parse(row["dataset"], row["period"]) for row in rows if row["state"] == "loaded"]
    following = next_load([*first, *there])
    for mart, head in loads.mart_heads(5).items():
        show_rows(console, f"First rows of the mart {mart}", head)
    # Where output is no terminal it is a log, which more people read than this machine's files.
    password = platform.home.secret("admin_password") if console.is_terminal else "scripts/status --password"
    where = f"Airflow   {platform.state.api_url}   user "
    console.print(Text.assemble(where, ("admin", "bold"), "   password ", (password, "bold")), soft_wrap=True)
    steps = {
        following: "add a dataset" if following.startswith("scripts/new") else "load more",
        "scripts/status": "what runs, what is loaded",
        "scripts/logs scheduler": "a component's log",
        "scripts/down": "remove everything and verify it",
    }
    named = {HINTS.named(step): what for step, what in steps.items()}
    width = max(38, *map(len, named))
    for number, (step, what) in enumerate(named.items()):
        console.print(f"{'' if number else 'Next':<10}{step:<{width}} {what}", soft_wrap=True)


@command(
    "status",
    """
  scripts/status               for people
  scripts/status --json        for programs
  scripts/status --connect     what to paste into psql, Python, DBeaver, bq
  scripts/status --password    of Airflow's user admin, and nothing else
  scripts/status --postgres-password           of Postgres' user taxi
exit code: 0 if everything runs and answers, 1 if something does not
""",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--password", is_flag=True, help="Print the password of Airflow's user admin.")
@click.option("--postgres-password", is_flag=True, help="Print the password of Postgres' user taxi.")
@click.option("--connect", is_flag=True, help="Print how other programs connect.")
@stack_option
@pass_checkout
def status(
    checkout: Checkout, as_json: bool, password: bool, postgres_password: bool, connect: bool, stack: str
) -> int:
    """Show the components and what is loaded where."""
    if password or postgres_password:
        secret = "admin_password" if password else "taxi_database_password"
        click.echo(checkout.platform(stack).home.secret(secret))
        return 0
    if connect:
        return _show_connections(checkout, stack)
    facts: dict[str, Any] = {"target": None, "stack": None, "components": [], "datasets": []}
    complaints = dict[str, str]()
    if not as_json or State.load(checkout.home(stack)):
        platform = checkout.platform(stack)
        running = platform.states()
        complaints = dict(platform.ailing()) if running else {}
        if running and not complaints:
            complaints |= _import_errors(platform)
        # Who asks a store that hangs waits for minutes.
        asked = running and not complaints.keys() - {DAGS}
        datasets = _datasets(platform, complaints) if asked else []
        facts = {
            "target": platform.state.target,
            "stack": stack,
            "components": [
                {
                    "name": component.name,
                    # The process is there; whether it does anything is another question.
                    "state": "HANGING"
                    if component.name in complaints
                    else running.get(component.name, "STOPPED"),
                    "url": component.url,
                }
                for component in platform.components()
            ],
            "datasets": datasets,
        }
        if not as_json:
            _show_status(platform, facts, complaints)
    if as_json:
        click.echo(json.dumps({**facts, "complaints": complaints}, indent=2, default=str))
    well = {part["state"] for part in facts["components"]} == {"RUNNING"} and not complaints
    return 0 if well else 1


def _import_errors(platform: Target) -> dict[str, str]:
    try:
        broken = platform.api.import_errors()
    except TaxiwayError:
        return {}  # Airflow's own state says why
    return {DAGS: f"are incomplete: {'; '.join(broken)}"} if broken else {}


def _show_connections(checkout: Checkout, stack: str) -> int:
    from taxiway.asking.connecting import snippets
    from taxiway.console.progress import Screen, styled

    home = checkout.platform(stack).home
    python = checkout.folder / ".venv" / "bin" / "python"
    console = Screen()
    for snippet in snippets(home.variables(), python, "scripts/status --postgres-password"):
        console.print(styled(f"# {snippet.title}", "bold"))
        console.print(snippet.text, soft_wrap=True)
        console.print()
    return 0


def _datasets(platform: Target, complaints: dict[str, str]) -> list[dict[str, Any]]:
    """What is loaded; nothing, and a complaint more, where a store that answers cannot tell."""
    from elt.errors import PipelineError
    from taxiway.console.progress import Progress
    from taxiway.loads.service import Loads

    try:
        loads = Loads.of(platform, Progress())
        loads.report_problems()
        return loads.report()
    except (PipelineError, TaxiwayError) as error:
        complaints["what is loaded"] = f"cannot be told: {error}"
        return []


def _show_status(platform: Target, facts: dict[str, Any], complaints: dict[str, str]) -> None:
    from elt.catalogue.registry import DATASETS, NO_DATASET
    from taxiway.asking.connecting import psql
    from taxiway.console.progress import Screen, styled
    from taxiway.console.tables import show_components, show_datasets

    console, port = Screen(), platform.state.ports["postgres"]
    show_components(console, facts["components"])
    for name, sentence in complaints.items():
        console.print(styled(f"{name} {sentence}", "red"), soft_wrap=True)
    show_datasets(console, facts["datasets"])
    if not DATASETS:
        console.print(styled(NO_DATASET, "yellow"), soft_wrap=True)
    taxi = {"host": "127.0.0.1", "port": port, "dbname": "taxi", "user": "taxi"}
    taxi |= {"passfile": platform.home.secrets / "pgpass", "require_auth": REQUIRE_AUTH}
    console.print(
        f"Airflow    {platform.state.api_url}   user admin, password: scripts/status --password\n"
        f"Postgres   {psql(taxi)}\n"
        "Others     scripts/status --connect, or ask here: scripts/sql",
        soft_wrap=True,
    )


@command(
    "doctor",
    """
  scripts/doctor                             of what runs, or of a first start
  scripts/doctor --target compose            of a start in containers
  scripts/doctor --stack alice --project acme       of one on Google Cloud
exit code: 0 if all is well, 1 if something is not
""",
)
@click.option("--target", type=click.Choice(TARGETS), help="Where Airflow is to run.")
@click.option("--project", default="", metavar="ID", help="Google Cloud project to deploy to.")
@stack_option
@pass_checkout
def doctor(checkout: Checkout, target: str | None, project: str, stack: str) -> int:
    """Check all that a start needs, or all that runs; say what to do."""
    from rich.text import Text

    from taxiway.asking.doctor import examine
    from taxiway.console.progress import MARKS, Screen, styled

    console, ill = Screen(), 0
    for finding in examine(checkout, stack, target, project):
        mark, color = MARKS["done" if finding.well else "failed"]
        line = Text.assemble((f"{mark} ", color), styled(f"{finding.what:<16}"), styled(f" {finding.detail}"))
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(styled(f"  {'':<16} {finding.remedy}", "bold"), soft_wrap=True)
        ill += not finding.well
    return 1 if ill else 0


@command(
    "logs",
    """
  scripts/logs scheduler             the last 50 lines
  scripts/logs postgres -n 200       more of them
  scripts/logs api-server -f         follow
""",
)
@click.argument("component")
@click.option("-n", "--lines", default=50, show_default=True, metavar="N", help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on as more is logged.")
@stack_option
@pass_checkout
def logs(checkout: Checkout, component: str, lines: int, follow: bool, stack: str) -> int:
    """Show the last log lines of a COMPONENT that scripts/status lists."""
    command = checkout.platform(stack).log_command(component, lines, follow=follow)
    if not sys.stdout.isatty():
        # Becoming `tail` or `docker` leaves interruptions and pipes to them.
        os.execvp(command[0], command)  # noqa: S606
    from taxiway.console.progress import plain

    # What was logged was said by files and servers: a terminal shows it, and does not obey it.
    with (
        suppress(KeyboardInterrupt),
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process,
    ):
        for line in process.stdout or ():
            click.echo(plain(line, keep="\n\t"), nl=False)
    return process.returncode


@command(
    "down",
    """
  scripts/down                 processes, buckets, datasets, files: all removed,
                               then verified
  scripts/down --keep-data     stop; the next scripts/up goes on with the data
""",
)
@click.option("--keep-data", "keep", is_flag=True, help="Stop, but keep data, secrets and ports.")
@stack_option
@pass_checkout
def down(checkout: Checkout, keep: bool, stack: str) -> int:
    """Stop everything, remove the environment, verify that it is gone."""
    from lakehouse.outputs import BUCKET, PROJECT
    from taxiway.compose import variables
    from taxiway.console.progress import Progress, plain
    from taxiway.infrastructure.teardown import verify
    from taxiway.targets.stack import made_by_hand

    home, progress = checkout.home(stack), Progress()
    by_hand = not keep and made_by_hand(checkout, stack)
    written = variables.read(checkout.folder / ".env")
    # Of a stack that `pulumi destroy --remove` took away, what scripts/env wrote is still here.
    is_written = not keep and written.get("TAXIWAY_STACK") == stack
    with exclusive(home, "down"):
        if not (home.root.exists() or by_hand or is_written):
            _forget_engine(home)
            of = "" if stack == DEFAULT_STACK else f" of the stack {stack}"
            click.echo(f"There is no environment{of} here: nothing to remove.")
            return 0
        removed = _stop(checkout, home, progress, keep=keep, by_hand=by_hand)
        if is_written and not by_hand and State.load(home) is None and written.get("EMULATORS_OFF"):
            config = {"taxiway:project": written[PROJECT], "taxiway:bucket": written[BUCKET]}
            verify(checkout.open_engine("cli", stack, None, home.engine, config, checkout.files))
        if not keep:
            removed += _remove_files(checkout, home)
    progress.say("verified: nothing is left", "done")
    for thing in removed:
        click.echo(plain(f"  removed  {thing}"))
    click.echo("Everything is stopped; data kept." if keep else "Nothing is left.")
    return 0


def _stop(checkout: Checkout, home: Home, progress: Progress, *, keep: bool, by_hand: bool) -> list[str]:
    """Stop the processes, destroy the stack; TaxiwayError names what is still there afterwards."""
    from taxiway.embedded.supervisor import Supervisor
    from taxiway.infrastructure.teardown import destroy
    from taxiway.targets.stack import StackSettings, open_stack

    state = State.load(home)
    if state is None:  # `up` was ended before it decided anything, or an earlier `down` half-way
        removed, left = Supervisor(home, 0).end_strays(), list[str]()
    else:
        platform = checkout.platform(home.stack, progress)
        # Verified before the folder goes: without it the next `down` would have nothing to go on with.
        removed, left = platform.stop(keep=keep), platform.left(keep=keep)
    if not keep and (by_hand or (state and not state.emulated)):
        known = StackSettings.known(checkout, home.stack)
        engine = open_stack(checkout, known)
        # Settings and stack go last and together: without both, an earlier `down` has destroyed it.
        if known.project or engine.exists():
            with progress.phase("infrastructure is destroyed"):
                removed += destroy(engine)
    if left:
        raise TaxiwayError(f"something is left: {', '.join(left)}", "Call scripts/down again.")
    return removed


def _remove_files(checkout: Checkout, home: Home) -> list[str]:
    """Remove the environment's folder, what scripts/env wrote for its stack, and an engine's empty state."""
    from lakehouse.outputs import CREDENTIALS, READER_CREDENTIALS
    from taxiway.compose import variables
    from taxiway.environment.home import OWN_CREDENTIALS

    written, removed = checkout.folder / ".env", list[str]()
    # Another stack's stay. The .env says whose both are, so it goes last.
    if variables.read(written).get("TAXIWAY_STACK") == home.stack:
        names = (CREDENTIALS, READER_CREDENTIALS, OWN_CREDENTIALS)
        for file in (*(checkout.folder / name for name in names), written):
            if file.exists():
                file.unlink()
                removed.append(str(file))
    if home.root.exists():
        shutil.rmtree(home.root)
        removed.append(str(home.root))
    _forget_engine(home)
    return removed


def _forget_engine(home: Home) -> None:
    """Remove what the engines remember once no stack is left that it is about."""
    if not home.engine.exists():
        return
    others = [path for path in home.root.parent.iterdir() if path not in (home.engine, home.lock)]
    states = [*home.engine.glob("*.json"), *home.engine.glob("pulumi/.pulumi/stacks/**/*.json")]
    if not others and not states:
        shutil.rmtree(home.engine)


COMMANDS = (up, status, doctor, logs, down)
