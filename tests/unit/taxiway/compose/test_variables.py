"""The variables between a stack and its containers, both ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taxiway.compose import infrastructure, variables
from taxiway.environment.home import Home, State
from taxiway.errors import TaxiwayError

OUTPUTS = {
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform"}',
    "BIGQUERY_DATASET": "taxiway_alice", "GCP_GCS_BUCKET": "acme-taxiway-alice", "GCP_LOCATION": "EU",
    "GCP_PROJECT_ID": "acme", "GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/google_credentials",
    "google_credentials": '{"private_key": "very secret"}',
}  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "name"),
    [("taxiway", "taxiway"), ("My Project.2", "myproject2"), ("_x-Y_z", "x-y_z"), ("???", "taxiway")],
)
def test_a_projects_name_is_the_one_that_compose_gives_a_folder(folder: str, name: str) -> None:
    assert variables.project_name(Path("/home/ann") / folder, "local", lambda _: None) == name


def test_two_checkouts_of_one_name_are_two_projects() -> None:
    def owner(_: str) -> Path:
        return Path("/home/ann/taxiway")

    assert variables.project_name(Path("/home/ann/taxiway"), "local", owner) == "taxiway"
    bobs = variables.project_name(Path("/home/bob/taxiway"), "local", owner)
    assert bobs.startswith("taxiway-")
    assert variables.project_name(Path("/home/eve/taxiway"), "local", owner) != bobs


def test_every_stack_is_a_project_of_its_own() -> None:
    stacks = ("local", "alice", "bob")
    names = {variables.project_name(Path("/x/taxiway"), stack, lambda _: None) for stack in stacks}
    assert names == {"taxiway", "taxiway-alice", "taxiway-bob"}


def test_root_is_not_imitated() -> None:
    assert variables.uid(0, "linux") == 50000
    assert variables.uid(1000, "linux") == 1000
    assert variables.uid(1000, "darwin") == 50000


def test_an_address_opens_the_gateway_until_it_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variables.gateway({}, readable=True) == {"GATEWAY_OFF": "1"}
    monkeypatch.setenv("TAXIWAY_ADDRESS", "10.0.0.5")
    opened = {"GATEWAY_OFF": "", "TAXIWAY_ADDRESS": "10.0.0.5"}
    assert variables.gateway({}, readable=False) == opened
    opened["TAXIWAY_LOGS_IN_LAKE"] = "true"
    assert variables.gateway({}, readable=True) == opened
    monkeypatch.setenv("GATEWAY_PORT", "9443")
    opened["GATEWAY_PORT"] = "9443"
    assert variables.gateway({}, readable=True) == opened
    for name in ("TAXIWAY_ADDRESS", "GATEWAY_PORT"):
        monkeypatch.delenv(name)
    assert variables.gateway(opened, readable=True) == opened
    monkeypatch.setenv("TAXIWAY_ADDRESS", "")
    assert variables.gateway(opened, readable=True) == {"GATEWAY_OFF": "1"}


def test_a_stack_on_google_cloud_turns_the_emulators_off() -> None:
    files = {name: Path("/x") / name for name in ("google_credentials", "google_reader_credentials")}
    written = variables.of_stack("alice", OUTPUTS, files)
    assert written["EMULATORS_OFF"] == "1"
    assert {written[name] for name in (*variables.EMULATORS, variables.SOURCE, "TAXIWAY_MONTHS")} == {""}
    assert written["GOOGLE_CREDENTIALS_FILE"] == "/x/google_credentials"
    assert written["GOOGLE_READER_CREDENTIALS_FILE"] == "/x/google_reader_credentials"
    assert (written["GOOGLE_OWN_CREDENTIALS_FILE"], written["GOOGLE_TOKENS_OFF"]) == ("", "1")
    assert written["COMPOSE_PROJECT_NAME"] == "taxiway-alice"
    assert "very secret" not in "".join(written.values())


def test_where_there_are_the_developers_own_credentials_the_token_server_runs_with_those_of_now(
    tmp_path: Path,
) -> None:
    files = {name: tmp_path / name for name in ("google_credentials", "google_own_credentials")}
    versions = []
    for content in ("a sign-in", "another"):
        files["google_own_credentials"].write_text(content)
        written = variables.of_stack("alice", OUTPUTS, files)
        versions.append(written["GOOGLE_OWN_CREDENTIALS_VERSION"])
        assert written["GOOGLE_CREDENTIALS_FILE"] == str(files["google_credentials"])
        assert written["GOOGLE_OWN_CREDENTIALS_FILE"] == str(files["google_own_credentials"])
        assert written["GOOGLE_TOKENS_OFF"] == ""
    assert versions[0] != versions[1]


def federated(file: str) -> dict[str, str]:
    content = {"type": "external_account", "credential_source": {"file": file}}
    return {**OUTPUTS, "google_credentials": json.dumps(content)}


def test_the_folder_of_the_platforms_token_is_mounted_so_that_a_renewed_one_is_seen() -> None:
    assert (
        variables.of_stack("alice", federated("/var/run/x/token"), {})["GOOGLE_TOKEN_FOLDER"] == "/var/run/x"
    )
    assert variables.of_stack("alice", OUTPUTS, {})["GOOGLE_TOKEN_FOLDER"] == ""
    with pytest.raises(TaxiwayError, match="/token is in no folder of its own"):
        variables.of_stack("alice", federated("/token"), {})


def test_a_stack_on_emulators_gets_those_of_compose() -> None:
    outputs = {
        **OUTPUTS,
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:2",
    }
    written = variables.of_stack("alice", outputs, {})
    assert not {"STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"} & set(written)
    assert written["EMULATORS_OFF"] == "", "whatever the shell says"
    # With their token, which is in a file of the containers.
    connection = json.loads(written["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    assert connection["extra"] == {"project": "acme", "credential_config_file": variables.CREDENTIALS}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sample", None),
        ("tlc", ""),
        ("https://mirror.example/x", '{"conn_type": "http", "host": "https://mirror.example/x"}'),
    ],
)
def test_the_workers_source_is_the_samples_unless_another_is_chosen(
    source: str, expected: str | None
) -> None:
    assert variables.source(State({}, source=source)).get(variables.SOURCE) == expected


def test_variables_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = {"A": "", "B": '{"a": {"b": "c d"}}', "C": "it's", "D": "http://x:1/"}
    (tmp_path / "file").write_text(variables.lines(written))
    assert variables.read(tmp_path / "file") == written
    assert variables.read(tmp_path / "none") == {}


def test_what_the_workers_have_is_translated_for_this_side(tmp_path: Path) -> None:
    inside = {
        "GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "GCP_LOCATION": "US", "BIGQUERY_DATASET": "d",
        "STORAGE_EMULATOR_HOST": "http://gcs:9023", "BIGQUERY_EMULATOR_HOST": "http://bigquery:9050",
        "AIRFLOW_CONN_TAXI_SOURCE": "http://sample-source:9080", "GOOGLE_APPLICATION_CREDENTIALS": "",
    }  # fmt: skip
    config = {"services": {"airflow-worker": {"environment": inside}}}
    ports = {"gcs": 1, "bigquery": 2, "postgres": 3}
    home = Home(tmp_path / ".taxiway" / "local")
    seen = variables.host_side(config, home, ports)
    connection = json.loads(seen["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    assert connection["extra"]["credential_config_file"] == str(home.secrets / "emulator_credentials.json")
    assert seen["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"
    assert seen["BIGQUERY_EMULATOR_HOST"] == "http://127.0.0.1:2"
    # As the load log has it: with another address nothing would count as loaded.
    assert seen["AIRFLOW_CONN_TAXI_SOURCE"] == "http://sample-source:9080"
    assert '"port": 3' in seen["AIRFLOW_CONN_TAXI_POSTGRES"]
    inside["EMULATORS_OFF"] = "1"
    without = variables.host_side(config, home, ports)
    assert "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT" not in without
    assert "STORAGE_EMULATOR_HOST" not in without


def test_infrastructure_reports_which_variable_points_elsewhere() -> None:
    outputs = {"GCP_PROJECT_ID": "taxiway-local", "GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "X": "y"}
    assert infrastructure.difference(outputs, {"GCP_GCS_BUCKET": "b", "X": "z"}) == ""
    sentence = infrastructure.difference(outputs, {"GCP_PROJECT_ID": "my-own"})
    assert "GCP_PROJECT_ID=my-own" in sentence
    assert "Unset" in sentence
