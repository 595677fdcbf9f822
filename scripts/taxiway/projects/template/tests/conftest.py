"""Airflow finds the project's configuration, and a home that is for the tests alone."""

import os
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="taxiway-airflow-")
os.environ["AIRFLOW_CONFIG"] = str(PROJECT / "airflow" / "airflow.cfg")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{os.environ['AIRFLOW_HOME']}/airflow.db"
