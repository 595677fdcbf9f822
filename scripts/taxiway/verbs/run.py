"""scripts/run: load months of a dataset through Airflow and wait for them."""

from __future__ import annotations

from rich.console import Console

from nyc_taxi import report
from nyc_taxi.catalogue import dataset
from taxiway.errors import TaxiwayError
from taxiway.load_months import load_months, settings_of
from taxiway.loading import units
from taxiway.paths import Home
from taxiway.progress import Progress
from taxiway.show import show_datasets
from taxiway.state import State, exclusive
from taxiway.targets import target_of
from taxiway.verbs import _arguments

EXAMPLES = """\
  scripts/run yellow 2024-03                 one month
  scripts/run yellow 2023-01..2023-12        a year
  scripts/run zones                          a dataset without months"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("run", "Load months of a dataset through Airflow and wait for them.", EXAMPLES)
    parser.add_argument("dataset", help="name of a dataset of the catalogue, such as yellow")
    parser.add_argument(
        "months", nargs="?", metavar="M[..M]", help="a month like 2024-01, or a range of them"
    )
    _arguments.add_wait(parser)
    _arguments.add_stack(parser)
    chosen = parser.parse_args(arguments)
    entry = dataset(chosen.dataset)
    months = _arguments.months(chosen.months) if chosen.months else ()
    for month in months or (None,):
        entry.check_month(month)
    home, progress = Home.of(chosen.stack), Progress()
    state = State.require(home)
    environment = target_of(home, state, progress)
    if not environment.running():
        raise TaxiwayError("the platform does not run", "Start it: scripts/up")
    with exclusive(home, "run"):
        code = load_months(home, environment.api, progress, units(entry, months), chosen.wait)
    rows = report.status(settings_of(home))
    asked = {str(month) for month in months}
    show_datasets(
        Console(), [r for r in rows if r["dataset"] == entry.name and (r["month"] or "") in (asked or {""})]
    )
    return code
