import json
import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


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
        *(f"nyc_taxi.{name}" for name in ("catalogue", "errors", "layout", "months", "settings"))
    )
    foreign = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names - {"nyc_taxi", "__main__"}
    assert {name for name in foreign if not name.startswith(("_", "sitecustomize"))} == set()


def test_asking_for_a_verb_imports_nothing_heavy():
    assert loaded_by("nyc_taxi.pipeline").isdisjoint({"pyarrow", "requests", "google.cloud", "psycopg"})


def test_a_download_needs_neither_arrow_nor_postgres():
    assert loaded_by("nyc_taxi.download").isdisjoint(
        {"pyarrow", "psycopg", "pandas", "google.cloud.bigquery"}
    )


def test_an_ingest_needs_neither_pandas_nor_the_bigquery_client():
    assert loaded_by("nyc_taxi.ingest").isdisjoint({"pandas", "google.cloud.bigquery"})


def test_nothing_of_the_library_needs_airflow():
    verbs = ("download", "refine", "ingest", "warehouse", "marts", "report")
    assert "airflow" not in loaded_by(*(f"nyc_taxi.{name}" for name in verbs))
