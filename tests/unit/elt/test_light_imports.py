"""What importing costs: commands last a second, DAG files are parsed every half minute."""

import json
import subprocess
import sys
from functools import cache

from repository import REPOSITORY

from airflow_local_settings import TASKS
from elt.stages import STAGES

MODULES = sorted({module for module, _, _ in (stage.partition(":") for stage in STAGES.values())})
PLUGINS = REPOSITORY / "plugins"


@cache
def loaded_by(*modules: str) -> set[str]:
    """Modules that a fresh interpreter has after importing these."""
    code = f"import {', '.join(modules)}, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PLUGINS)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(json.loads(done.stdout))


def test_what_dag_files_import_needs_the_standard_library_only():
    names = ("catalogue.registry", "connections", "errors", "layout", "periods", "settings", "stages")
    loaded = loaded_by(*(f"elt.{name}" for name in names))
    ours = {"elt", "nyc_taxi", "__main__"}
    foreign = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names - ours
    assert {name for name in foreign if not name.startswith(("_", "sitecustomize"))} == set()


def test_only_the_postgres_stage_needs_its_drivers():
    others = [module for module in MODULES if module != "elt.stages.postgres"]
    assert loaded_by(*others, "elt.status").isdisjoint({"psycopg", "pgpq"})


def test_googles_bigquery_client_is_imported_by_whoever_connects():
    """It brings pandas: a second. What only names its types does not import it."""
    assert loaded_by(*MODULES, "elt.status").isdisjoint({"pandas", "google.cloud.bigquery"})


def test_what_tasks_import_has_been_imported_before_they_are_forked():
    """All but pgpq, which is small and for one task only."""
    preloaded = loaded_by(*(name for name in TASKS if not name.startswith("airflow.")))
    late = {name.split(".")[0] for name in loaded_by(*MODULES) - preloaded} - sys.stdlib_module_names
    # What Cython's modules share has its version for a name.
    late = {name for name in late if not name.startswith("_cython_")}
    assert "google.cloud.storage" in preloaded
    assert late <= {"elt", "nyc_taxi", "pgpq"}, "add the others to TASKS"


def test_a_download_needs_no_arrow():
    assert loaded_by("elt.stages.download").isdisjoint({"pyarrow", "numpy"})


def test_nothing_of_the_library_needs_airflow():
    assert "airflow" not in loaded_by(*MODULES, "elt.status", "elt.connections")
