"""scripts/run: load months of datasets through Airflow and wait for them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from elt import status as report
from elt.catalogue import Dataset
from elt.months import Month
from elt.settings import Settings
from taxiway.cli import arguments as _arguments
from taxiway.console.progress import Progress
from taxiway.console.tables import show_datasets
from taxiway.environment.paths import Home
from taxiway.environment.state import State, exclusive
from taxiway.errors import TaxiwayError, UsageError
from taxiway.loads import arguments as asked
from taxiway.loads.runner import Unit
from taxiway.loads.service import Again, load_months, settings_of
from taxiway.targets.target import target_of

EXAMPLES = """\
  scripts/run yellow 2024-03                         one month
  scripts/run yellow 2019-01..2024-12                six years; ended half-way, it goes on when called again
  scripts/run yellow green 2023-01..2023-12          a year of two datasets
  scripts/run all 2019-01..2024-12 --newest-first    everything, the newest months first
  scripts/run zones                                  a dataset without months
  scripts/run yellow --changed                       what TLC has published anew since it was loaded
  scripts/run yellow 2024-03 --force                 once more, although it is loaded
A month that was not published yet is asked for again; one that is loaded is not."""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    entries, months = asked.read(chosen.words)
    if chosen.changed and chosen.force:
        raise UsageError("--changed and --force exclude each other", "--force loads all that is named.")
    wanted = [] if chosen.changed else asked.units(entries, months, newest_first=chosen.newest_first)
    home, progress = Home.of(chosen.stack), Progress()
    environment = target_of(home, State.require(home), progress)
    if not environment.running():
        raise TaxiwayError("the platform does not run", "Start it: scripts/up")
    with exclusive(home, "run"):
        if chosen.changed:
            wanted = _changed(entries, months, settings_of(home), progress)
        again = Again(wanted if chosen.changed or chosen.force else (), chosen.force)
        code = load_months(home, environment.api, progress, wanted, chosen.wait, again) if wanted else 0
    units = {(unit.dataset, unit.month) for unit in wanted}
    rows = report.status(settings_of(home))
    show_datasets(Console(), [row for row in rows if (row["dataset"], row["month"] or "") in units])
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _arguments.parser("run", "Load months of datasets through Airflow and wait for them.", EXAMPLES)
    parser.add_argument(
        "words",
        nargs="+",
        metavar="DATASET… [M..M]",
        help="names of datasets, or all; then a month like 2024-01 or a range",
    )
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--newest-first", action="store_true", help="begin with the last month of the range")
    order.add_argument(
        "--oldest-first", action="store_false", dest="newest_first", help="begin with the first (the default)"
    )
    parser.add_argument(
        "--changed", action="store_true", help="load what the publisher has changed since, and nothing else"
    )
    parser.add_argument("--force", action="store_true", help="load again what is loaded already")
    _arguments.add_wait(parser)
    _arguments.add_stack(parser)
    return parser


def _changed(
    entries: Sequence[Dataset], months: Sequence[Month], settings: Settings, progress: Progress
) -> list[Unit]:
    """Ask the source, with one request a month, what has changed."""
    # They import the clients of Google and of the source.
    from elt.sources.changes import scan
    from elt.sources.client import HttpSource
    from elt.stores.gcs import Lake

    found = []
    for entry in entries:
        with HttpSource(entry, settings.source_url or "") as source:
            changed = scan(entry, source, Lake(settings), among=months)
        for name, why in changed.failed.items():
            progress.say(f"[yellow]{name} stays as it is: {why}[/]")
        progress.say(f"{entry.name}: {changed.checked} checked, {len(changed.to_load)} changed", "done")
        found += [Unit(entry.name, str(month or "")) for month in changed.to_load]
    return found
