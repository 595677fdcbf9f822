"""scripts/up: start the whole platform, load the first months, show what happened."""

from __future__ import annotations

import sys

from rich.console import Console

from nyc_taxi import report
from nyc_taxi.catalogue import dataset
from taxiway.embedded import Embedded
from taxiway.load_months import load_months, settings_of
from taxiway.loading import Unit, units
from taxiway.paths import Home
from taxiway.preflight import check_machine
from taxiway.progress import Progress
from taxiway.show import show_datasets, show_rows
from taxiway.state import exclusive
from taxiway.verbs import _arguments

FIRST_MONTHS = "2024-01..2024-02"
EXAMPLES = """\
  scripts/up                                          generated months, everything on this machine
  scripts/up --months 2024-01..2024-06                more of them
  scripts/up --source tlc --months 2024-01            the real ones from TLC's site
  scripts/up --source http://127.0.0.1:8000           from a mirror laid out like TLC's site"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("up", "Start the whole platform and load the first months.", EXAMPLES)
    parser.add_argument(
        "--months", default=FIRST_MONTHS, metavar="M[..M]", help="yellow trips to load (%(default)s)"
    )
    parser.add_argument(
        "--source", default="sample", help="sample, tlc, or the URL of a mirror (%(default)s)"
    )
    parser.add_argument(
        "--target", default="embedded", choices=["embedded"], help="where it runs (%(default)s)"
    )
    parser.add_argument(
        "--engine", default="in-process", choices=["in-process", "cli"],
        help="who evaluates the Pulumi program: this process, or the pulumi on PATH (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--wait", type=float, default=_arguments.PUBLICATION_SECONDS, metavar="SECONDS",
        help="how long to wait for a month that is not published (%(default).0f)",
    )  # fmt: skip
    _arguments.add_stack(parser)
    chosen = parser.parse_args(arguments)
    yellow, source = dataset("yellow"), _arguments.source(chosen.source)
    months = _arguments.months(chosen.months)
    for month in months:
        yellow.check_month(month)
    wanted = [Unit("zones"), *units(yellow, months)]
    home, progress = Home.of(chosen.stack), Progress()
    with exclusive(home, "up"):
        check_machine(home.root)
        environment = Embedded.prepare(home, progress, source, chosen.engine).start()
        code = load_months(home, environment.api, progress, wanted, chosen.wait)
    _show(home, environment, progress)
    return code


def _show(home: Home, environment: Embedded, progress: Progress) -> None:
    console, settings = Console(), settings_of(home)
    console.print()
    show_datasets(console, report.status(settings))
    show_rows(console, "First rows of the mart daily_zone_revenue", report.mart_head(settings, 5))
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
