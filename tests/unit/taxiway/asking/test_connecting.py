"""What is shown to be pasted: for emulators and for Google Cloud, with any path, and without a password."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from taxiway.asking.connecting import psql, snippets

CLOUD = {
    "GCP_PROJECT_ID": "acme-data",
    "GCP_GCS_BUCKET": "acme-lake",
    "BIGQUERY_DATASET": "trips",
    "GCP_LOCATION": "EU",
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps({"conn_type": "google_cloud_platform"}),
}
PASSFILE = "/home/it's a \\ path/pgpass"
POSTGRES = {
    "AIRFLOW_CONN_TAXI_POSTGRES": json.dumps(
        {
            "conn_type": "postgres",
            "host": "127.0.0.1",
            "port": 5433,
            "schema": "taxi",
            "login": "taxi",
            "password": "of-a-test",
            "extra": {"passfile": PASSFILE},
        }
    )
}


def shown(variables: dict[str, str]) -> dict[str, str]:
    return {s.title: s.text for s in snippets(variables, Path("/venv/bin/python"), "scripts/show")}


def test_the_line_for_psql_survives_a_shell_whatever_is_in_its_path() -> None:
    program, given = shlex.split(psql({"host": "127.0.0.1", "passfile": PASSFILE}))
    assert program == "psql"
    assert conninfo_to_dict(given) == {"host": "127.0.0.1", "passfile": PASSFILE}


def test_no_snippet_holds_a_password() -> None:
    found = shown(CLOUD | POSTGRES)
    assert "of-a-test" not in str(found)
    assert "scripts/show" in found["Postgres: DBeaver, DataGrip, Metabase …"]


def test_a_stack_on_google_cloud_has_bq_and_needs_no_endpoint() -> None:
    found = shown(CLOUD)
    assert not [title for title in found if title.startswith("Postgres")]
    assert shlex.split(found["Warehouse: bq"])[:3] == ["bq", "query", "--project_id=acme-data"]
    assert "bigquery.Client('acme-data')" in found["Warehouse: Python, or a notebook"]


def test_every_line_of_python_is_python() -> None:
    emulated = {
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9050",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9023",
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(
            {"conn_type": "google_cloud_platform", "extra": {"credential_config_file": "/it's/token.json"}}
        ),
    }
    for variables in (CLOUD | POSTGRES, CLOUD | emulated):
        for title, text in shown(variables).items():
            if "Python" in title:
                compile(text, title, "exec")
