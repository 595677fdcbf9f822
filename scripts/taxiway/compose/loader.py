"""The service that opens the platform and loads the first months: `docker compose up` ends with data.

`loader MONTHS`, such as 2024-01..2024-02; an empty text: none.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from elt.connections import EnvironmentConnections
from elt.errors import PipelineError
from taxiway.airflow.bootstrap import open_dags, wait_until_healthy
from taxiway.airflow.client import AirflowApi
from taxiway.compose import TROUBLE
from taxiway.console.hints import HINTS
from taxiway.console.progress import Progress, Screen
from taxiway.console.tables import show_datasets
from taxiway.environment.home import DEFAULT_STACK
from taxiway.errors import TaxiwayError
from taxiway.loads.arguments import first_load
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
          docker compose exec flower cat /run/taxiway/flower/flower_password
More      in Airflow's interface: trigger yellow_to_lake with a partition key such as 2024-03"""


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
    console.print(HOW_TO_SIGN_IN, soft_wrap=True, markup=False)
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
        progress.say(
            "on Google Cloud no month is loaded unasked: scripts/run yellow 2024-01, or Airflow's UI"
        )
        return 0
    loads = Loads(api, EnvironmentConnections(), progress)
    loads.report_problems()
    code = loads.load(first_load(months), PUBLICATION_SECONDS)
    show_datasets(console, loads.status())
    return code


if __name__ == "__main__":
    sys.exit(main("".join(sys.argv[1:])))
