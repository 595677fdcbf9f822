"""Connections as Airflow's variables write them, read without Airflow."""

import json
import os
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth.credentials import AnonymousCredentials
from google.auth.impersonated_credentials import Credentials as Impersonated

from elt.catalogue import Api, Database, Dataset
from elt.catalogue.registry import DATASETS
from elt.connection_fields import ConnectionFields, postgres_parameters
from elt.connections import EnvironmentConnections
from elt.errors import PermanentError, SettingError, TransientError
from taxiway.environment.secrets import emulator_credentials

STACK = {"GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "GCP_LOCATION": "EU"}
EMULATED = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1", "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:2/"}
YELLOW = DATASETS["yellow"]


def google(**extra) -> dict[str, str]:
    text = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
    return {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": text}


def connections(**variables: str) -> EnvironmentConnections:
    return EnvironmentConnections(STACK | variables)


def fields(text: str) -> ConnectionFields:
    return ConnectionFields.parse(text, "AIRFLOW_CONN_X")


FULL = ConnectionFields("postgres", "db.test", "taxi", "me", "p@ss/w:rd", 5433, {"sslmode": "require"})
WRITTEN = {
    "JSON": json.dumps(
        {"conn_type": "postgres", "host": "db.test", "schema": "taxi", "login": "me", "password": "p@ss/w:rd",
         "port": 5433, "extra": {"sslmode": "require"}}
    ),
    "JSON with texts": json.dumps(
        {"conn_type": "postgres", "host": "db.test", "schema": "taxi", "login": "me", "password": "p@ss/w:rd",
         "port": "5433", "extra": '{"sslmode": "require"}'}
    ),
    "URI": f"postgres://me:{quote('p@ss/w:rd', safe='')}@db.test:5433/taxi?sslmode=require",
    "URI with JSON in it": (
        f"postgres://me:{quote('p@ss/w:rd', safe='')}@db.test:5433/taxi?__extra__="
        + quote('{"sslmode": "require"}')
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", WRITTEN)
def test_a_connection_is_read_in_both_forms(form):
    assert fields(WRITTEN[form]) == FULL


@pytest.mark.parametrize("form", WRITTEN)
def test_it_is_read_as_airflow_reads_it(form):
    from airflow.sdk.definitions.connection import Connection

    make = Connection.from_json if form.startswith("JSON") else Connection.from_uri
    theirs = make(WRITTEN[form], conn_id="x")
    ours = fields(WRITTEN[form])
    for name in ("conn_type", "host", "schema", "login", "password", "port"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.extra == theirs.extra_dejson


@pytest.mark.parametrize(
    ("uri", "host", "port"),
    [
        ("http://https://mirror.test:8443", "https://mirror.test", 8443),
        ("postgres://me@%2Fvar%2FRun%2Fpostgres/taxi", "/var/Run/postgres", None),
        ("google-cloud-platform://?project=p", "", None),
    ],
)
def test_a_uri_may_be_unusual(uri, host, port):
    from airflow.sdk.definitions.connection import Connection

    ours, theirs = fields(uri), Connection.from_uri(uri, conn_id="x")
    assert (ours.host, ours.port) == (host, port) == (theirs.host or "", theirs.port)
    assert ours.conn_type == theirs.conn_type


@pytest.mark.parametrize(
    "text", ["nothing", '{"host": ', '{"extra": "no json"}', "postgres://h:port/x", "[1]", "{}x"]
)
def test_what_is_no_connection_is_refused_without_showing_it(text):
    with pytest.raises(
        SettingError, match=r"AIRFLOW_CONN_X is not a connection\. Write it as JSON"
    ) as refusal:
        fields(text)
    assert text not in str(refusal.value)


def test_a_password_is_not_shown():
    assert "p@ss" not in repr(FULL)
    assert "p@ss" not in repr(connections(AIRFLOW_CONN_TAXI_POSTGRES=WRITTEN["URI"]))


# Google Cloud


def test_the_project_is_the_connections_else_the_stacks():
    assert connections().project == "p"
    assert connections(**google(project="other")).project == "other"
    assert (
        connections(AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT="google-cloud-platform://?project=uri").project == "uri"
    )
    with pytest.raises(SettingError, match=r"GCP_PROJECT_ID is not set"):
        EnvironmentConnections({}).project  # noqa: B018


def clients(found: EnvironmentConnections):
    with found.lake() as lake, found.warehouse() as warehouse:
        yield from (lake._client, warehouse._client)


def endpoints(found: EnvironmentConnections) -> list[str]:
    return [client._connection.API_BASE_URL for client in clients(found)]


def test_only_the_variables_say_where_google_is(monkeypatch):
    for name in EMULATED:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    anonymous = google(is_anonymous=True)
    assert endpoints(connections(**EMULATED)) == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert endpoints(connections(**anonymous)) == [
        "https://storage.googleapis.com", "https://bigquery.googleapis.com",
    ]  # fmt: skip


@pytest.mark.parametrize("name", EMULATED)
def test_an_emulators_malformed_address_is_shown(name):
    with pytest.raises(SettingError, match=rf"{name}='127\.0\.0\.1:3' is not a URL\. Write it like http://"):
        list(clients(connections(**EMULATED | {name: "127.0.0.1:3"})))


def test_a_warehouse_knows_whether_it_is_an_emulator():
    with connections(**EMULATED).warehouse() as warehouse:
        assert warehouse.emulated
    with connections(**google(is_anonymous=True)).warehouse() as warehouse:
        assert not warehouse.emulated
        assert (warehouse.project, warehouse.name("t")) == ("p", "`p.d.t`")


def credentials(found: EnvironmentConnections):
    return [client._credentials for client in clients(found)]


def test_an_emulator_or_an_anonymous_connection_needs_no_credentials():
    for variables in (EMULATED, google(is_anonymous=True)):
        assert {type(found) for found in credentials(connections(**variables))} == {AnonymousCredentials}


@pytest.fixture
def file(tmp_path):
    """Write a credential file and return the connection that names it."""

    def write(content) -> dict[str, str]:
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(content))
        return google(credential_config_file=str(path))

    return write


def test_a_guarded_emulator_gets_the_token_of_its_credential_file(file):
    found = connections(**EMULATED | file(json.loads(emulator_credentials("of-ours"))))
    assert [one.token for one in credentials(found)] == ["of-ours"] * 2
    assert all(one.valid for one in credentials(found)), "nobody is asked for another"
    assert "of-ours" not in repr(found)


def test_an_emulator_never_gets_what_a_real_credential_file_holds(file):
    real = json.loads(emulator_credentials("real")) | {"client_id": "764086051850.apps.googleusercontent.com"}
    for content in (real, {"type": "service_account", "private_key": "real"}, {}):
        found = connections(**EMULATED | file(content))
        assert {type(one) for one in credentials(found)} == {AnonymousCredentials}


def test_a_credential_file_that_cannot_be_read_is_named(tmp_path):
    missing = google(credential_config_file=str(tmp_path / "none.json"))
    with pytest.raises(PermanentError, match=r"credential file cannot be read: .*none\.json"):
        connections(**EMULATED | missing).lake()


@pytest.fixture
def key(tmp_path) -> str:
    """A service account's key file."""
    private = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    account = {"type": "service_account", "client_email": "a@b.test", "token_uri": "http://127.0.0.1:9/token"}
    path = tmp_path / "key.json"
    path.write_text(json.dumps({**account, "private_key": private.decode()}))
    return str(path)


def test_a_key_file_is_read_from_the_connection_or_the_variable(key, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    for variables in (google(key_path=key), {"GOOGLE_APPLICATION_CREDENTIALS": key}):
        assert {found.service_account_email for found in credentials(connections(**variables))} == {
            "a@b.test"
        }
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ, "nobody else's environment is changed"


@pytest.mark.parametrize("chain", ["x@b.test, y@b.test", ["x@b.test", "y@b.test"], "y@b.test"])
def test_a_connection_may_act_as_another_account(key, chain):
    for found in credentials(connections(**google(key_path=key, impersonation_chain=chain))):
        assert isinstance(found, Impersonated)
        assert found._target_principal == "y@b.test"
        assert found._delegates == ([] if chain == "y@b.test" else ["x@b.test"])


def test_credentials_that_cannot_be_read_are_said_in_a_sentence(tmp_path):
    missing = str(tmp_path / "none.json")
    with pytest.raises(PermanentError, match=r"^Google Cloud: no credentials \(.*none\.json.*\)\.$"):
        connections(GOOGLE_APPLICATION_CREDENTIALS=missing).warehouse()


@pytest.fixture
def workload(tmp_path) -> dict[str, object]:
    """Credentials of another cloud's account, as workload identity federation has them."""
    (tmp_path / "token").write_text("a token")
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "http://127.0.0.1:9/v1/token",
        "credential_source": {"file": str(tmp_path / "token")},
    }


@pytest.mark.parametrize("missing_token", [True, False])
def test_what_fails_while_a_client_is_made_is_a_sentence_too(tmp_path, workload, missing_token):
    """An external account is asked for its project then, which takes a token."""
    if missing_token:
        (tmp_path / "token").unlink()
    (tmp_path / "account.json").write_text(json.dumps(workload))
    found = connections(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "account.json"))
    kind, said = (PermanentError, "not found") if missing_token else (TransientError, "no token could be had")
    with pytest.raises(kind, match=rf"^Google Cloud: .*{said}"):
        found.lake()


def test_an_external_account_that_shall_act_as_another_is_refused_in_a_sentence(tmp_path, workload):
    """A limit of Google's library: it takes other credentials to impersonate with."""
    (tmp_path / "account.json").write_text(json.dumps({**workload, "quota_project_id": "p"}))
    variables = google(impersonation_chain="x@y.test", key_path=str(tmp_path / "account.json"))
    with pytest.raises((PermanentError, TransientError), match=r"^Google Cloud: "):
        connections(**variables).lake()


# Postgres


def test_a_connections_fields_become_libpqs_parameters():
    assert postgres_parameters(FULL) == {
        "host": "db.test", "port": 5433, "user": "me", "password": "p@ss/w:rd", "dbname": "taxi",
        "sslmode": "require",
    }  # fmt: skip
    private = fields('{"conn_type": "postgres", "extra": {"service": "taxi", "passfile": "/private"}}')
    assert postgres_parameters(private) == {"service": "taxi", "passfile": "/private"}


def test_a_target_without_postgres_says_so_when_it_is_needed():
    assert not connections().has_postgres
    with pytest.raises(
        SettingError, match=r"AIRFLOW_CONN_TAXI_POSTGRES is not set: this target has no Postgres"
    ):
        connections().postgres()
    assert connections(AIRFLOW_CONN_TAXI_POSTGRES=WRITTEN["URI"]).has_postgres


# Sources


@pytest.mark.parametrize(
    ("text", "base_url"),
    [
        ("", "https://d37ci6vzurychx.cloudfront.net"),
        ('{"conn_type": "http", "host": "https://mirror.test/nyc/"}', "https://mirror.test/nyc"),
        ('{"conn_type": "http", "host": "mirror.test", "schema": "https"}', "https://mirror.test"),
        ('{"conn_type": "http", "host": "127.0.0.1", "port": 9080}', "http://127.0.0.1:9080"),
        ("http://127.0.0.1:9080", "http://127.0.0.1:9080"),
        ("https://me:secret@mirror.test", "https://mirror.test"),
    ],
)
def test_a_source_is_where_its_connection_says_else_at_its_public_address(text, base_url):
    assert connections(AIRFLOW_CONN_TAXI_SOURCE=text).source(YELLOW).base_url == base_url


def test_a_source_connection_without_a_host_says_so():
    with pytest.raises(SettingError, match="HTTP connection has no host"):
        connections(AIRFLOW_CONN_TAXI_SOURCE='{"conn_type": "http", "login": "me"}').source(YELLOW)


@pytest.mark.parametrize(
    ("fields", "auth", "headers"),
    [
        ({}, None, {}),
        ({"password": "t0ken"}, None, {"Authorization": "Bearer t0ken"}),
        ({"login": "me", "password": "p"}, ("me", "p"), {}),
        (
            {"password": "t", "extra": {"headers": {"Authorization": "Key k"}}},
            None,
            {"Authorization": "Key k"},
        ),
    ],
)
def test_a_password_without_a_login_is_a_bearer_token(fields, auth, headers):
    assert ConnectionFields("http", "example.com", **fields).secrets() == {"auth": auth, "headers": headers}


def test_the_kind_of_an_entrys_source_decides_who_reads_it():
    api = Dataset("a", "A", "/x", source=Api("shop", "https://api.example.com"))
    table = Dataset("b", "B", source=Database("shop", "sales"))
    assert connections().source(api).base_url == "https://api.example.com"
    assert connections().source(table).base_url == "database://shop"
    text = '{"conn_type": "mysql", "host": "db", "login": "me", "password": "secret", "schema": "shop"}'
    assert connections(AIRFLOW_CONN_SHOP=text).source(table).base_url == "mysql://db:3306/shop"
    assert connections(AIRFLOW_CONN_SHOP="http://me:x@other/").source(api).base_url == "http://other"
