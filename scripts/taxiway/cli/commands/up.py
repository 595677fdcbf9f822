"""scripts/up: start the whole platform, load the first months, show what happened."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from elt import status as report
from elt.catalogue.registry import MARTS, dataset
from taxiway.cli import arguments as _arguments
from taxiway.cli.commands import preview
from taxiway.console.progress import Progress
from taxiway.console.tables import show_datasets, show_rows
from taxiway.environment.paths import Home
from taxiway.environment.preflight import check_machine
from taxiway.environment.state import exclusive
from taxiway.loads.runner import Unit, units
from taxiway.loads.service import load_months, settings_of
from taxiway.targets.stack import StackSettings
from taxiway.targets.target import TARGETS, Target

FIRST_MONTHS = "2024-01..2024-02"
EXAMPLES = """\
  scripts/up                                          generated months, everything on this machine
  scripts/up --months 2024-01..2024-06                more of them
  scripts/up --source tlc --months 2024-01            the real ones from TLC's site
  scripts/up --source http://127.0.0.1:8000           from a mirror laid out like TLC's site
  scripts/up --stack alice --project my-project       lake and warehouse on Google Cloud, Airflow here
  scripts/up --stack alice --preview                  what would change, and what it would cost"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    if chosen.preview:
        return preview.show(chosen)
    yellow = dataset("yellow")
    source = _arguments.source(chosen.source or ("tlc" if chosen.project else "sample"))
    engine = _arguments.engine(chosen)
    months = _arguments.months(chosen.months)
    for month in months:
        yellow.check_month(month)
    wanted = [Unit("zones"), *units(yellow, months)]
    StackSettings(chosen.stack, chosen.project, engine).check()
    home, progress = Home.of(chosen.stack), Progress()
    with exclusive(home, "up"):
        check_machine(home.root)
        place = TARGETS[chosen.target]
        environment: Target = place.prepare(
            home, progress, source=source, engine=engine, project=chosen.project
        ).start()
        code = load_months(home, environment.api, progress, wanted, chosen.wait)
    _show(home, environment, progress)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _arguments.parser("up", "Start the whole platform and load the first months.", EXAMPLES)
    parser.add_argument(
        "--months", default=FIRST_MONTHS, metavar="M[..M]", help="yellow trips to load (%(default)s)"
    )
    parser.add_argument("--source", help="sample, tlc, or the URL of a mirror (sample; with --project tlc)")
    parser.add_argument(
        "--target", default="embedded", choices=sorted(TARGETS), help="where Airflow runs (%(default)s)"
    )
    _arguments.add_infrastructure(parser)
    parser.add_argument("--preview", action="store_true", help="show what would change, and change nothing")
    _arguments.add_wait(parser)
    return parser


def _show(home: Home, environment: Target, progress: Progress) -> None:
    console, settings = Console(), settings_of(home)
    console.print()
    show_datasets(console, report.status(settings))
    for mart in MARTS.values():
        if mart.preview:
            show_rows(console, f"First rows of the mart {mart.name}", report.mart_head(settings, mart, 5))
    password = (home.secrets / "admin_password").read_text()
    console.print(
        f"Airflow   {environment.state.api_url}   user [bold]admin[/]   password [bold]{password}[/]",
        soft_wrap=True,
    )
    console.print(
        "Next      scripts/run yellow 2024-03..2024-04    load more months\n"
        "          scripts/status                         what runs, what is loaded\n"
        "          scripts/logs scheduler                 a component's log\n"
        "          scripts/down                           remove everything, proved",
        highlight=False,
    )
    sys.stdout.flush()
    progress.say(f"done in {progress.elapsed:.1f} s", "done")
