"""The service that opens the platform and loads the first months: `docker compose up` ends with data."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from elt.connections import EnvironmentConnections
from elt.errors import PipelineError
from taxiway.airflow.bootstrap import open_dags, wait_until_healthy
from taxiway.airflow.client import AirflowApi
from taxiway.compose import TROUBLE
from taxiway.console.progress import Progress, Screen
from taxiway.console.tables import show_datasets
from taxiway.errors import TaxiwayError
from taxiway.loads.arguments import first_load
from taxiway.loads.service import NOT_PUBLISHED_CODE, Loads
from taxiway.waiting import Patience

API = "http://airflow-api-server:8080"
PASSWORD = Path("/run/taxiway/admin/admin_password")
INFRASTRUCTURE = Path("/run/taxiway/stack") / TROUBLE
READY_SECONDS = 300
PUBLICATION_SECONDS = 20.0
HOW_TO_SIGN_IN = """\
Airflow   http://127.0.0.1:{airflow}   user admin, its password:
          docker compose exec airflow-api-server cat {password}
Flower    http://127.0.0.1:{flower}   user admin, its password:
          docker compose exec flower cat {flower_password}
More      in Airflow's interface: trigger yellow_to_lake with a partition key such as 2024-03"""


def main(arguments: list[str]) -> int:
    """Return 0 if what is requested is loaded, or not published yet."""
    parser = argparse.ArgumentParser(prog="loader", description=__doc__)
    parser.add_argument("months", nargs="?", default="", help="such as 2024-01..2024-02; empty: none")
    chosen = parser.parse_args(arguments)
    # The service's log is read in a terminal of unknown width, after the fact.
    console = Screen(width=110, force_terminal=False)
    try:
        code = _open_and_load(chosen.months, Progress(console), console)
    except (TaxiwayError, PipelineError) as error:
        console.print(f"loader: {error} {getattr(error, 'remedy', '')}")
        return 1
    # Where the passwords are; a log is no place for them.
    console.print(HOW_TO_SIGN_IN.format(**_places()), soft_wrap=True)
    return 0 if code == NOT_PUBLISHED_CODE else code


def _open_and_load(months: str, progress: Progress, console: Screen) -> int:
    if INFRASTRUCTURE.exists():
        raise TaxiwayError(INFRASTRUCTURE.read_text().strip())
    api = AirflowApi(API, PASSWORD.read_text())
    # Compose has waited for the start of the services, not for their health: that takes both processors.
    with progress.phase("Airflow is healthy"):
        wait_until_healthy(api, Patience(READY_SECONDS, every=1.0))
    with progress.phase("DAGs are parsed, pools made, DAGs unpaused"):
        open_dags(api, Patience(READY_SECONDS, every=1.0))
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


def _places() -> dict[str, str]:
    return {
        "airflow": os.environ.get("AIRFLOW_PORT", "8080"),
        "flower": os.environ.get("FLOWER_PORT", "5555"),
        "password": str(PASSWORD),
        "flower_password": "/run/taxiway/flower/flower_password",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
