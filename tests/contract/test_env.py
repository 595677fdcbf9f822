"""scripts/env: private files that Compose reads, and nothing secret for people to see."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_http import Answer
from google_hosts import GONE, IAM, OAUTH, GoogleHosts

from lakehouse.outputs import CREDENTIALS, READER_CREDENTIALS
from taxiway.cli.main import main
from taxiway.compose import variables
from taxiway.docgen.infrastructure import STACK
from taxiway.environment.home import REPOSITORY, State
from taxiway.infrastructure.plan import plan
from taxiway.targets.target import Checkout

INVENTORIES = REPOSITORY / "tests" / "infra" / "inventories"
SECRET = "a-secret-of-the-test"
OWN = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": SECRET}
# As gcloud writes it, with the project that it had then.
SIGNED_IN = {**OWN, "quota_project_id": "somewhere-else"}


def outputs(scenario: str) -> dict[str, Any]:
    """What the program gives; a key is one that can be recognized."""
    config = yaml.safe_load((INVENTORIES / f"{scenario}.yaml").read_text())["config"]
    found = plan(STACK, config).outputs
    if scenario == "key":
        key = json.dumps({"type": "service_account", "private_key": SECRET})
        found |= {CREDENTIALS: key, READER_CREDENTIALS: key}
    return found


@pytest.fixture(autouse=True)
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleHosts]:
    """Google on loopback, where the developer's sign-in has ended."""
    with GoogleHosts() as hosts:
        hosts.faults[OAUTH] = [Answer(*GONE[OAUTH])] * 99
        for name, value in hosts.variables(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield hosts


@pytest.fixture
def checkout(tmp_path: Path, google: GoogleHosts, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout of a developer who is signed in."""
    own = tmp_path / "gcloud" / "application_default_credentials.json"
    own.parent.mkdir()
    own.write_text(json.dumps(SIGNED_IN))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(own.parent))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return tmp_path


@dataclass
class Engine:
    """The engine of a stack that is up, in one of the inventories' scenarios."""

    found: dict[str, Any]
    there: bool = True

    def exists(self) -> bool:
        return self.there

    def outputs(self) -> dict[str, Any]:
        return self.found


@pytest.fixture
def run(checkout: Path) -> Any:
    """Call the command for a stack that is up."""

    def call(scenario: str, *arguments: str, code: int = 0) -> None:
        opened: Any = lambda *_: Engine(outputs(scenario) if scenario else {})  # noqa: E731
        assert main(["env", STACK, *arguments], Checkout(checkout, opened)) == code

    return call


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("scenario", ["ephemeral", "key", "workload-identity"])
def test_the_credential_file_is_its_owners_alone_and_where_compose_is_told(
    run: Any, checkout: Path, scenario: str
) -> None:
    run(scenario)
    file = checkout / "google_credentials"
    assert mode(file) == mode(checkout / ".env") == 0o600
    assert file.stat().st_uid == variables.uid(), "whom the containers run as"
    written = variables.read(checkout / ".env")
    assert written["GOOGLE_CREDENTIALS_FILE"] == str(file)
    readers = checkout / "google_reader_credentials"
    assert (mode(readers), readers.stat().st_uid) == (0o600, variables.uid())
    assert written["GOOGLE_READER_CREDENTIALS_FILE"] == str(readers)
    own, impersonates = checkout / "google_own_credentials", scenario == "ephemeral"
    assert own.exists() == impersonates
    if impersonates:
        assert (mode(own), own.stat().st_uid) == (0o600, variables.uid())
    assert written["GOOGLE_OWN_CREDENTIALS_FILE"] == (str(own) if impersonates else "")
    assert written["GOOGLE_TOKENS_OFF"] == ("" if impersonates else "1")
    source = json.loads(file.read_text()).get("credential_source")
    folder = str(Path(source["file"]).parent) if source and not impersonates else ""
    assert written["GOOGLE_TOKEN_FOLDER"] == folder


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        ("ephemeral", "external_account"),
        ("key", "service_account"),
        ("workload-identity", "external_account"),
    ],
)
def test_each_credential_mode_has_its_kind_of_file(
    run: Any, checkout: Path, scenario: str, kind: str
) -> None:
    run(scenario)
    content = json.loads((checkout / "google_credentials").read_text())
    reader = json.loads((checkout / "google_reader_credentials").read_text())
    assert content["type"] == reader["type"] == kind
    if kind == "external_account":
        # The API server's is another account, and with the token server another secret.
        assert "/taxiway-alice--reader@acme-data." in reader["service_account_impersonation_url"]
        same = reader["credential_source"] == content["credential_source"]
        assert same == (scenario == "workload-identity")
    if scenario == "ephemeral":
        method = "/v1/projects/-/serviceAccounts/taxiway-alice@acme-data.iam.gserviceaccount.com"
        assert content["token_url"] == "http://google-tokens:9085/v1/token"
        assert content["service_account_impersonation_url"] == (
            f"http://google-tokens:9085{method}:generateAccessToken"
        )
        content = json.loads((checkout / "google_own_credentials").read_text())
        assert content["source_credentials"] == {**OWN, "quota_project_id": "acme-data"}
        assert content["service_account_impersonation_url"].endswith(
            "/taxiway-alice@acme-data.iam.gserviceaccount.com:generateAccessToken"
        )


def test_a_service_accounts_requests_are_on_its_own_project(run: Any, checkout: Path) -> None:
    own = checkout / "gcloud" / "application_default_credentials.json"
    key = {"type": "service_account", "client_email": "a@b.test", "private_key": SECRET}
    own.write_text(json.dumps({**key, "quota_project_id": "somewhere-else"}))
    run("ephemeral")
    assert json.loads((checkout / "google_own_credentials").read_text())["source_credentials"] == key


def test_googles_own_library_takes_each_credential_file(run: Any, checkout: Path) -> None:
    from google.auth.identity_pool import Credentials as Federated
    from google.auth.impersonated_credentials import Credentials as Impersonated

    takes: list[tuple[str, str, Any]] = [
        ("ephemeral", "google_own_credentials", Impersonated.from_impersonated_service_account_info),
        ("ephemeral", "google_credentials", Federated.from_info),
        ("workload-identity", "google_credentials", Federated.from_info),
    ]
    for scenario, name, take in takes:
        run(scenario)
        made = take(json.loads((checkout / name).read_text()), scopes=["x"])
        assert made.service_account_email == "taxiway-alice@acme-data.iam.gserviceaccount.com"


@pytest.mark.parametrize("scenario", ["ephemeral", "key"])
def test_the_environment_holds_no_secret_and_none_is_shown(
    run: Any, checkout: Path, capfd: Any, scenario: str
) -> None:
    run(scenario)
    run(scenario, "--print")
    shown = capfd.readouterr()
    name = "google_own_credentials" if scenario == "ephemeral" else "google_credentials"
    assert SECRET in (checkout / name).read_text()
    assert SECRET not in (checkout / ".env").read_text() + shown.out + shown.err
    assert "google_credentials='********'" in shown.out


def test_the_account_is_tried_before_anybody_relies_on_it(
    checkout: Path, google: GoogleHosts, capsys: Any
) -> None:
    """By the developer's own credentials: the server that mints tasks' tokens does not run yet."""
    google.faults.clear()
    # What there is at this Google.
    named = json.loads(json.dumps(outputs("ephemeral")).replace("acme-data", "p"))
    found = named | {"GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d"}
    opened: Any = lambda *_: Engine(found)  # noqa: E731
    assert main(["env", STACK], Checkout(checkout, opened)) == 0
    assert {OAUTH, IAM, "storage.googleapis.com", "bigquery.googleapis.com"} <= {h for h, _ in google.asked}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("scenario", ["ephemeral", "workload-identity"])
def test_where_nobody_can_try_it_that_is_said(run: Any, checkout: Path, capsys: Any, scenario: str) -> None:
    """Signed out, or the token is one that only the platform of the tasks has."""
    run(scenario)
    assert "cannot be tried here" in capsys.readouterr().err
    assert (checkout / ".env").exists()


def test_print_writes_nothing(run: Any, checkout: Path) -> None:
    run("key", "--print")
    assert not (checkout / ".env").exists()
    assert not (checkout / "google_credentials").exists()


def test_tasks_are_handed_nothing_of_the_developers(run: Any, checkout: Path) -> None:
    """What of this machine docker-compose.yaml gives to whom."""
    run("ephemeral")
    written = variables.read(checkout / ".env")
    file = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
    mounted = {
        name: Path(written[re.findall(r"\w+", secret["file"])[0]]) for name, secret in file["secrets"].items()
    }
    telling = {name for name, path in mounted.items() if SECRET in path.read_text()}
    assert telling == {"google_own_credentials"}
    services = file["services"].items()
    assert [n for n, service in services if telling & set(service.get("secrets", []))] == ["google-tokens"]
    # The checkout itself is mounted nowhere: its folders are.
    sources = {v.split(":")[0] for _, service in services for v in service.get("volumes", [])}
    assert not sources & {".", "./", "./.env"}


def test_a_stack_without_a_credential_file_leaves_none_of_another(run: Any, checkout: Path) -> None:
    run("ephemeral")
    run("key")
    assert not (checkout / "google_own_credentials").exists()
    run("anonymous")
    assert list(checkout.glob("google_*credentials")) == []
    written = variables.read(checkout / ".env")
    assert written["GOOGLE_CREDENTIALS_FILE"] == written["GOOGLE_READER_CREDENTIALS_FILE"] == ""


def test_the_files_are_ignored_by_git() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    written = {"google_credentials", "google_own_credentials", "google_reader_credentials"}
    assert {"/.env", *(f"/{name}" for name in written)} <= set(ignored)


def test_a_stack_without_outputs_is_reported_with_what_makes_it(
    run: Any, checkout: Path, capsys: Any
) -> None:
    run("", code=1)
    shown = capsys.readouterr().err
    assert "the stack alice has no outputs yet" in shown
    assert "pulumi up --stack alice" in shown
    assert list(checkout.glob("*env*")) == []


def test_a_stack_that_there_is_not_is_reported_as_such(checkout: Path, capsys: Any) -> None:
    opened: Any = lambda *_: Engine({}, there=False)  # noqa: E731
    assert main(["env", "alcie"], Checkout(checkout, opened)) == 1
    assert "there is no stack alcie" in capsys.readouterr().err
    assert list(checkout.glob("*env*")) == []


def test_the_selected_stack_is_written_and_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Though this checkout has an environment of its own: the user said which one they mean."""
    State({"supervisor": 9}).save(Checkout(checkout).home("local"))
    pulumi = checkout / "bin" / "pulumi"
    listed = '[{"name": "alice", "current": true}, {"name": "bob", "current": false}]'
    pulumi.parent.mkdir()
    pulumi.write_text(f"#!/bin/sh\ncase $1 in version) echo v3.272.0;; *) echo '{listed}';; esac\n")
    pulumi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{pulumi.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///somewhere")
    opened: Any = lambda *_: Engine(outputs("ephemeral"))  # noqa: E731
    assert main(["env"], Checkout(checkout, opened)) == 0
    assert variables.read(checkout / ".env")["TAXIWAY_STACK"] == "alice"
    assert "of the stack alice" in capsys.readouterr().out


def test_a_stack_with_any_name_that_pulumi_takes_has_a_project_of_compose(run: Any) -> None:
    names = [
        variables.project_name(Path("x"), stack, lambda _: None)
        for stack in ("alice", "Alice.Dev", "alice_dev")
    ]
    assert names[0] == "taxiway-alice"
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
