"""Outputs -> environment: what infrastructure gives is what pipelines and Compose take, no more, no less."""

import ast
import json
import re
from functools import cache

import pytest
import yaml

from elt.connections import GOOGLE
from lakehouse.outputs import CREDENTIALS, CREDENTIALS_PATH, READER_CREDENTIALS, VARIABLES
from taxiway.environment import home
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure.plan import plan

READERS = [REPOSITORY / name for name in ("docker-compose.yaml", "airflow/entrypoint", "README.md")]
OUTPUT_LIKE = re.compile(
    r"\b(?:GCP_[A-Z_]+|BIGQUERY_(?!\w*PORT|JOB_DETAIL)[A-Z_]+|STORAGE_EMULATOR_[A-Z]+"
    r"|GOOGLE_APPLICATION_[A-Z_]+|AIRFLOW_CONN_GOOGLE_[A-Z_]+)\b"
)
VARIABLE = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
INVENTORIES = REPOSITORY / "tests" / "infra" / "inventories"
COMPOSE = REPOSITORY / "docker-compose.yaml"
LIBRARY = REPOSITORY / "plugins" / "elt"
# What the commands set, because it is no infrastructure.
OF_THE_COMMANDS = {
    "TAXI_SCHEDULE_START", "TAXI_MAX_BYTES_BILLED", "TAXI_JOB_SECONDS", "TAXI_MAX_FILE_BYTES",
    "TAXI_DOWNLOAD_SECONDS",
}  # fmt: skip


@cache
def outputs(scenario):
    config = yaml.safe_load((INVENTORIES / f"{scenario}.yaml").read_text())["config"]
    return plan("alice", config).outputs


def every_output():
    return set().union(*(outputs(path.stem) for path in INVENTORIES.glob("*.yaml")))


def python(folder):
    return sorted((REPOSITORY / folder).rglob("*.py"))


def read_by_the_library():
    """Names of variables: constants in capitals of the modules that read the environment, and connections."""
    trees = [ast.parse((LIBRARY / name).read_text()) for name in ("settings.py", "connections.py")]
    constants = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    named = {text for text in constants if isinstance(text, str) and VARIABLE.fullmatch(text)}
    # Its tasks and its commands reach Google by this connection alone.
    return named | {f"AIRFLOW_CONN_{GOOGLE.upper()}"}


def test_the_contract_names_every_output_and_nothing_else():
    assert every_output() == {*VARIABLES, CREDENTIALS, READER_CREDENTIALS}
    assert home.READER_CREDENTIALS == READER_CREDENTIALS


def test_every_setting_of_the_library_is_an_output_or_the_commands_business():
    needed = read_by_the_library()
    assert {"GCP_PROJECT_ID", "GCP_GCS_BUCKET", "BIGQUERY_DATASET", "GCP_LOCATION"} <= needed
    assert needed - OF_THE_COMMANDS <= set(VARIABLES)


def test_no_output_is_read_by_nobody():
    assert set(VARIABLES) <= read_by_the_library()


@pytest.mark.skipif(not COMPOSE.exists(), reason="docker-compose.yaml is not there")
def test_every_output_is_a_variable_of_compose():
    given = compose_variables()
    assert set(VARIABLES) <= given, f"docker-compose.yaml does not pass on: {set(VARIABLES) - given}"


@pytest.mark.skipif(not COMPOSE.exists(), reason="docker-compose.yaml is not there")
def test_compose_puts_the_credential_file_where_the_output_says():
    content = COMPOSE.read_text()
    assert CREDENTIALS_PATH in content
    assert CREDENTIALS in yaml.safe_load(content).get("secrets", {}) or f"{CREDENTIALS}:" in content


def test_whoever_names_an_output_names_one_that_there_is():
    """Many files name outputs: a variable that is renamed in one of them alone is found here."""
    named = {}
    for file in [*READERS, *(path for folder in ("scripts", "plugins", "dags") for path in python(folder))]:
        for name in OUTPUT_LIKE.findall(file.read_text()):
            named.setdefault(name, set()).add(str(file.relative_to(REPOSITORY)))
    assert {"GCP_PROJECT_ID", "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"} <= set(named)
    assert {name: files for name, files in named.items() if name not in VARIABLES} == {}


def test_only_a_target_on_emulators_names_emulators():
    emulators = {"STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"}
    assert emulators <= set(outputs("anonymous"))
    assert emulators.isdisjoint(outputs("ephemeral"))


def test_there_is_a_credential_file_exactly_where_a_variable_points_to_it():
    for path in INVENTORIES.glob("*.yaml"):
        found = outputs(path.stem)
        assert (
            (CREDENTIALS in found)
            == ("GOOGLE_APPLICATION_CREDENTIALS" in found)
            == (READER_CREDENTIALS in found)
            == (path.stem != "anonymous")
        )


def test_airflows_connection_is_json_without_a_secret():
    for path in INVENTORIES.glob("*.yaml"):
        connection = json.loads(outputs(path.stem)["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
        assert connection["conn_type"] == "google_cloud_platform"
        assert set(connection["extra"]) <= {"project", "is_anonymous"}


def compose_variables():
    services = yaml.safe_load(COMPOSE.read_text())["services"].values()
    environments = [service.get("environment", {}) for service in services]
    pairs = [
        env if isinstance(env, dict) else dict(item.partition("=")[::2] for item in env)
        for env in environments
    ]
    return set().union(*pairs)
