"""The service that opens the platform and loads the first months: `docker compose up` ends with data.

`loader MONTHS`, such as 2024-01..2024-02; an empty text: none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS, NO_DATASET
from elt.connections import EnvironmentConnections
from elt.errors import PipelineError
from elt.periods import Month
from taxiway.airflow.bootstrap import open_dags, open_datasets, wait_until_healthy
from taxiway.airflow.client import AirflowApi
from taxiway.compose import TROUBLE
from taxiway.console.hints import HINTS
from taxiway.console.progress import Progress, Screen
from taxiway.console.tables import show_datasets
from taxiway.environment.home import DEFAULT_STACK
from taxiway.errors import TaxiwayError
from taxiway.loads.arguments import first_load, nothing_first
from taxiway.loads.service import NOT_PUBLISHED_CODE, Loads
from taxiway.waiting import Patience

PASSWORD = Path("/run/taxiway/admin/admin_password")
INFRASTRUCTURE = Path("/run/taxiway/stack") / TROUBLE
READY_SECONDS = 300
PUBLICATION_SECONDS = 20.0
# Where the passwords are; a log is no place for them.
HOW_TO_SIGN_IN = f"""\
Airflow   http://127.0.0.1:{os.environ.get("AIRFLOW_PORT", "8080")}   user admin, its password:
          docker compose exec airflow-api-server cat {PASSWORD}
Flower    http://127.0.0.1:{os.environ.get("FLOWER_PORT", "5555")}   user admin, its password:
          docker compose exec flower cat /run/taxiway/flower/flower_password"""


def more(datasets: Mapping[str, Dataset] = DATASETS) -> str:
    """How to load another period, of the first dataset that has some; how to add one where there is none."""
    named = next(((name, entry.first) for name, entry in datasets.items() if entry.first), None)
    if not named:
        return f"More      {NO_DATASET}" if not datasets else "More      scripts/new NAME ADDRESS-OF-A-FILE"
    name, first = named
    first = max(first, type(first).of(Month(2024, 3).start))
    return f"More      in Airflow's interface: trigger {name}_to_lake with a partition key such as {first}"


def main(months: str) -> int:
    """Return 0 if what is requested is loaded, or not published yet."""
    # The service's log is read in a terminal of unknown width, after the fact.
    console = Screen(width=110, force_terminal=False)
    HINTS.stack = os.environ.get("TAXIWAY_STACK") or DEFAULT_STACK
    try:
        code = _open_and_load(months, Progress(console), console)
    except (TaxiwayError, PipelineError) as error:
        console.print(f"loader: {error} {getattr(error, 'remedy', '')}", markup=False)
        return 1
    console.print(f"{HOW_TO_SIGN_IN}\n{more()}", soft_wrap=True, markup=False)
    return 0 if code == NOT_PUBLISHED_CODE else code


def _open_and_load(months: str, progress: Progress, console: Screen) -> int:
    if INFRASTRUCTURE.exists():
        raise TaxiwayError(INFRASTRUCTURE.read_text().strip())
    api = AirflowApi("http://airflow-api-server:8080", PASSWORD.read_text())
    patience = Patience(READY_SECONDS, every=1.0)
    # Compose has waited for the start of the services, not for their health: that takes both processors.
    with progress.phase("Airflow is healthy"):
        wait_until_healthy(api, patience)
    with progress.phase("DAGs are parsed, pools made, DAGs unpaused"):
        open_dags(api, patience)
    if not months:
        return 0
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        progress.say("on Google Cloud nothing is loaded unasked: scripts/run, or Airflow's UI")
        return 0
    loads = Loads(api, EnvironmentConnections(), progress)
    loads.report_problems()
    if empty := nothing_first(months):
        progress.say(empty)
        return 0
    first = first_load(months)
    open_datasets(api, {partition.dataset for partition in first})
    code = loads.load(first, PUBLICATION_SECONDS)
    show_datasets(console, loads.status())
    return code


if __name__ == "__main__":
    sys.exit(main("".join(sys.argv[1:])))
