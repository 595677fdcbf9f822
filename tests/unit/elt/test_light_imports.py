import json
import subprocess
import sys
from functools import cache

from repository import REPOSITORY

from airflow_local_settings import PRELOADED

VERBS = [
    *(f"elt.stages.{name}" for name in ("download", "conform", "postgres", "warehouse", "marts")),
    "elt.status",
]
PLUGINS = REPOSITORY / "plugins"


@cache
def loaded_by(*modules: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after importing these."""
    code = f"import {', '.join(modules)}, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PLUGINS)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_what_dag_files_import_needs_the_standard_library_only():
    loaded = loaded_by(
        *(f"elt.{name}" for name in ("catalogue.registry", "errors", "layout", "months", "settings"))
    )
    foreign = (
        {name.split(".")[0] for name in loaded} - sys.stdlib_module_names - {"elt", "nyc_taxi", "__main__"}
    )
    assert {name for name in foreign if not name.startswith(("_", "sitecustomize"))} == set()


def test_asking_for_a_verb_imports_nothing_heavy():
    assert loaded_by("elt.stages.registry").isdisjoint({"pyarrow", "requests", "google.cloud", "psycopg"})


def test_only_an_ingest_needs_the_driver_of_postgres():
    others = [verb for verb in VERBS if verb != "elt.stages.postgres"]
    assert loaded_by(*others).isdisjoint({"psycopg", "pgpq"})


def test_what_tasks_import_has_been_imported_before_they_are_forked():
    """All but the driver of Postgres, which is small and for one task only."""
    preloaded = loaded_by(*(name for name in PRELOADED if not name.startswith("airflow.")))
    late = {name.split(".")[0] for name in loaded_by(*VERBS) - preloaded} - sys.stdlib_module_names
    # What Cython's modules share has its version for a name.
    late = {name for name in late if not name.startswith("_cython_")}
    assert "google.cloud.storage" in preloaded
    assert late == {"elt", "nyc_taxi", "pgpq", "psycopg", "psycopg_binary"}, "add the others to PRELOADED"


def test_no_verb_imports_what_costs_every_process_half_a_second():
    """pandas comes with Airflow's Google provider, and with Google's BigQuery client whoever imports that."""
    assert loaded_by(*VERBS).isdisjoint({"pandas", "google.cloud.bigquery", "google.cloud.bigquery_storage"})


def test_a_download_needs_no_arrow():
    assert loaded_by("elt.stages.download").isdisjoint({"pyarrow", "numpy"})


def test_nothing_of_the_library_needs_airflow():
    assert "airflow" not in loaded_by(*VERBS)
