"""What Airflow's connections say is where a stage goes, and as whom; what they lack is a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elt.catalogue.registry import DATASETS
from elt.errors import PermanentError, SettingError, TransientError
from elt.orchestration.connections import AirflowConnections, find, source_of
from elt.settings import Settings
from taxiway.environment.secrets import emulator_credentials

SETTINGS = Settings(bucket="bucket", dataset="dataset", location="EU")
CONNECTIONS = AirflowConnections(SETTINGS, patience=3.0)
YELLOW = DATASETS["yellow"]


def connect(monkeypatch: pytest.MonkeyPatch, connection: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{connection.upper()}", json.dumps(fields))


def google(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    connect(monkeypatch, "google_cloud_default", conn_type="google_cloud_platform", extra=extra)


def test_the_project_is_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    for project in ("one", "another"):
        google(monkeypatch, project=project, is_anonymous=True)
        connections = AirflowConnections(SETTINGS)
        assert connections.project == project
        with connections.warehouse() as warehouse:
            assert warehouse.name("t") == f"`{project}.dataset.t`"


def test_lake_and_warehouse_follow_the_emulators_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    google(monkeypatch, project="p", is_anonymous=True)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    with CONNECTIONS.warehouse() as warehouse:
        assert warehouse.emulated
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST")
    with AirflowConnections(SETTINGS).warehouse() as warehouse:
        assert not warehouse.emulated
    with AirflowConnections(SETTINGS).lake() as lake:
        assert lake.uri("raw/x") == "gs://bucket/raw/x"


def test_tasks_carry_the_token_that_the_emulators_credential_file_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials.json"
    file.write_text(emulator_credentials("of-ours"))
    google(monkeypatch, project="p", credential_config_file=str(file))
    for name in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with AirflowConnections(SETTINGS).lake() as lake, AirflowConnections(SETTINGS).warehouse() as warehouse:
        for client in (lake._client, warehouse._client):
            assert client._credentials.token == "of-ours"
            assert client._credentials.valid, "nobody is asked for another"
            assert client.project == "p"


@pytest.mark.parametrize("reach", [lambda c: c.project, lambda c: c.lake(), lambda c: c.warehouse()])
def test_without_the_google_connection_there_is_a_remedy(reach: Any) -> None:
    with pytest.raises(SettingError, match="Set AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT, like"):
        reach(AirflowConnections(SETTINGS))


def test_a_connection_that_names_no_project_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    google(monkeypatch, is_anonymous=True)
    with pytest.raises(SettingError, match=r'names no project.*"project"'):
        _ = AirflowConnections(SETTINGS).project


@pytest.mark.parametrize("extra", [{"key_path": "/nowhere/key.json"}, {"keyfile_dict": "{not json"}])
def test_a_key_that_cannot_be_read_fails_at_once_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]
) -> None:
    google(monkeypatch, project="p", **extra)
    for reach in (lambda c: c.lake(), lambda c: c.warehouse()):
        with pytest.raises(PermanentError, match="connection google_cloud_default gives no credentials"):
            reach(AirflowConnections(SETTINGS))


def test_postgres_is_optional_and_its_absence_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not CONNECTIONS.has_postgres
    with pytest.raises(SettingError, match="Set AIRFLOW_CONN_TAXI_POSTGRES, like"):
        CONNECTIONS.postgres()
    connect(monkeypatch, "taxi_postgres", conn_type="postgres", host="127.0.0.1")
    assert CONNECTIONS.has_postgres


def test_what_only_the_provider_understands_is_not_handed_to_postgres(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """libpq would refuse an option that it does not know before it looks for the server."""
    extra = {"cursor": "dictcursor", "sslmode": "disable", "connect_timeout": 1}
    connect(monkeypatch, "taxi_postgres", conn_type="postgres", host="127.0.0.1", port=9, extra=extra)
    with pytest.raises(TransientError, match="refused"), CONNECTIONS.postgres():
        pass


def test_a_source_is_the_connections_else_the_entrys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert YELLOW.source is not None
    assert source_of(YELLOW).base_url == YELLOW.source.base_url
    host = "https://mirror.example/nyc"
    connect(monkeypatch, YELLOW.source.connection, conn_type="http", host=host, login="u", password="p")
    assert source_of(YELLOW).base_url == CONNECTIONS.source(YELLOW).base_url == host


def test_a_connections_fields_are_found_under_airflows_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("nobodys") is None
    given = {"host": "h", "schema": "s", "login": "l", "password": "p", "port": 7}
    connect(monkeypatch, "somebodys", conn_type="http", extra={"headers": {"X-Key": "k"}}, **given)
    found = find("somebodys")
    assert found is not None
    assert {name: getattr(found, name) for name in given} == given
    assert found.extra == {"headers": {"X-Key": "k"}}
