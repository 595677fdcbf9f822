"""What dbt is told about a stack, where its project is, and what is said if it cannot be installed."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
import yaml
from repository import REPOSITORY

from elt.connections import EnvironmentConnections
from taxiway.compose.packages import Uv
from taxiway.errors import TaxiwayError, UsageError
from taxiway.transforming import dbt

SECRET = "very-secret"
STACK = {"GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "GCP_LOCATION": "EU"}
EMULATED = {**STACK, "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9050"}
POSTGRES = {
    "conn_type": "postgres", "host": "127.0.0.1", "port": 5433, "schema": "taxi", "login": "taxi",
    "extra": {"passfile": "/x/pgpass", "require_auth": "scram-sha-256"},
}  # fmt: skip


def google(**extra: str | list[str]) -> dict[str, str]:
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    return {**STACK, "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection)}


def described(given: dict[str, str], folder: Path) -> dict[str, str]:
    return dbt.variables(EnvironmentConnections(given), SECRET, folder, folder / "models")


def needed(output: str) -> set[str]:
    """The variables that an output of profiles.yml cannot do without."""
    text = yaml.safe_dump(
        yaml.safe_load((dbt.LOCKED.parent / "profiles.yml").read_text())["taxiway"]["outputs"][output]
    )
    return set(re.findall(r"env_var\('+(\w+)'+\)", text))


def test_the_emulator_gets_its_token_and_nobody_else(tmp_path):
    found = described(EMULATED, tmp_path)
    assert found["TAXIWAY_DBT_TARGET"] == "emulator"
    assert needed("emulator") <= found.keys()
    assert [name for name, value in found.items() if value == SECRET] == ["DBT_ENV_SECRET_TOKEN"]
    assert SECRET not in described(google(), tmp_path).values()


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, {}),
        ({"key_path": "/x/key.json"}, {"GOOGLE_APPLICATION_CREDENTIALS": "/x/key.json"}),
        ({"impersonation_chain": "a@b.c"}, {"TAXIWAY_DBT_IMPERSONATE": "a@b.c"}),
        ({"impersonation_chain": ["a@b.c"]}, {"TAXIWAY_DBT_IMPERSONATE": "a@b.c"}),
    ],
    ids=["own", "key", "impersonated", "impersonated-list"],
)
def test_google_cloud_gets_the_credentials_of_the_connection(tmp_path, extra, expected):
    found = described(google(**extra), tmp_path)
    assert found["TAXIWAY_DBT_TARGET"] == "google"
    assert needed("google") <= found.keys()
    names = ("GOOGLE_APPLICATION_CREDENTIALS", "TAXIWAY_DBT_IMPERSONATE")
    assert {name: found[name] for name in names if name in found} == expected


def test_a_chain_of_accounts_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a chain of 2"):
        described(google(impersonation_chain="a@b.c, d@e.f"), tmp_path)


def test_postgres_is_reached_by_a_file_with_the_password(tmp_path):
    found = described({**EMULATED, "AIRFLOW_CONN_TAXI_POSTGRES": json.dumps(POSTGRES)}, tmp_path)
    assert needed("postgres") <= found.keys()
    assert (found["PGPASSFILE"], found["PGPORT"], found["PGUSER"]) == ("/x/pgpass", "5433", "taxi")


def test_a_password_in_the_connection_is_kept_out_of_dbts_logs(tmp_path):
    connection = json.dumps({**POSTGRES, "password": "hunter2", "extra": {}})
    found = described({**EMULATED, "AIRFLOW_CONN_TAXI_POSTGRES": connection}, tmp_path)
    assert [name for name, value in found.items() if value == "hunter2"] == ["DBT_ENV_SECRET_PASSWORD"]


def test_what_dbt_writes_is_for_its_owner_alone(tmp_path):
    described(EMULATED, tmp_path)
    assert stat.S_IMODE((tmp_path / "dbt").stat().st_mode) == 0o700


def test_the_one_project_is_found_and_none_or_two_are_named(tmp_path):
    assert dbt.project(REPOSITORY) == REPOSITORY / "plugins" / "nyc_taxi" / "dbt"
    with pytest.raises(UsageError, match="none"):
        dbt.project(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "plugins" / name / "dbt").mkdir(parents=True)
        (tmp_path / "plugins" / name / "dbt" / "dbt_project.yml").touch()
    with pytest.raises(UsageError, match="plugins/a/dbt, plugins/b/dbt"):
        dbt.project(tmp_path)


def test_what_cannot_be_installed_is_said_and_tried_again(tmp_path):
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho no route to the index >&2\nexit 2\n")
    uv.chmod(0o755)
    for _ in range(2):
        with pytest.raises(
            TaxiwayError, match=r"dbt could not be installed: .*no route to the index"
        ) as found:
            dbt.program(tmp_path / "dbt", Uv(str(uv)))
        assert "Check the network" in found.value.remedy


def test_what_is_installed_is_locked_by_hash_and_not_installed_twice(tmp_path):
    locked = dbt.LOCKED.read_text()
    packages = re.findall(r"^([a-z0-9._-]+)==", locked, re.MULTILINE)
    assert {"dbt-core", "dbt-bigquery", "dbt-postgres"} <= set(packages)
    assert locked.count("\n    --hash=sha256:") >= len(packages)
    uv = tmp_path / "uv"
    uv.write_text(
        f"#!/bin/sh\necho called >>{tmp_path}/calls\nmkdir -p {tmp_path}/dbt/bin\n: >{tmp_path}/dbt/bin/dbt\n"
    )
    uv.chmod(0o755)
    for _ in range(2):
        assert dbt.program(tmp_path / "dbt", Uv(str(uv))) == tmp_path / "dbt" / "bin" / "dbt"
    assert (tmp_path / "calls").read_text().count("called") == 2
    # A checkout that was moved: the programs' first lines name a Python that is there no more.
    (tmp_path / "dbt").rename(tmp_path / "moved")
    assert dbt.program(tmp_path / "moved", Uv(str(uv)))
    assert (tmp_path / "calls").read_text().count("called") == 4
