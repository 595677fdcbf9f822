"""Backends, settings files and credentials: what engines find on a developer's machine."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from taxiway.environment.home import REPOSITORY, write_json
from taxiway.infrastructure import EMULATORS, Endpoints, EngineError, backend, environment, open_engine
from taxiway.infrastructure.backend import selected
from taxiway.infrastructure.plan import differences
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.infrastructure.stacks import stacks

LOCAL = {"on_emulators": True, "key_service": False}
CLOUD = {"on_emulators": False, "key_service": False}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A developer who never chose a backend, and is signed in nowhere."""
    for name in list(os.environ):
        if name.startswith(("PULUMI_", "CLOUDSDK_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def log_in(home, url):
    (home / ".pulumi").mkdir(exist_ok=True)
    (home / ".pulumi" / "credentials.json").write_text(json.dumps({"current": url}))


def test_who_never_chose_a_backend_gets_one_in_the_folder(home, tmp_path):
    variables = backend.environment(tmp_path / "engine", **CLOUD)
    assert variables["PULUMI_BACKEND_URL"].startswith(f"file://{tmp_path}/engine/pulumi")
    assert variables["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(tmp_path / "engine" / "passphrase")


@pytest.mark.parametrize("by", ["login", "variable"])
def test_the_developers_own_backend_is_for_google_cloud_alone(home, tmp_path, monkeypatch, by):
    url = "https://api.pulumi.com"
    log_in(home, url) if by == "login" else monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    assert "PULUMI_BACKEND_URL" not in backend.environment(tmp_path / "engine", **CLOUD)
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in backend.environment(tmp_path / "engine", **CLOUD)
    assert "file://" in backend.environment(tmp_path / "engine", **LOCAL)["PULUMI_BACKEND_URL"]


def test_the_shells_passphrase_is_for_the_users_own_backend_and_not_for_this_checkouts(
    home, tmp_path, monkeypatch
):
    """Else a stack that was made in one shell could not be taken down in another."""
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "theirs")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "/theirs")
    for where in (LOCAL, CLOUD):
        variables = backend.environment(tmp_path, **where)
        assert variables["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(tmp_path / "passphrase")
        assert variables["PULUMI_CONFIG_PASSPHRASE"] == (tmp_path / "passphrase").read_text() != "theirs"
    log_in(home, "file://~")
    assert not any("PASSPHRASE" in name for name in backend.environment(tmp_path, **CLOUD))


def test_a_shared_backend_without_a_passphrase_is_said_not_guessed(home, tmp_path, monkeypatch):
    monkeypatch.setenv("PULUMI_BACKEND_URL", "gs://acme-state")
    with pytest.raises(EngineError, match="gs://acme-state are encrypted with a passphrase") as refused:
        backend.environment(tmp_path, **CLOUD)
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" in refused.value.remedy
    assert backend.environment(tmp_path, on_emulators=False, key_service=True)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "/run/secrets/passphrase")
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in backend.environment(tmp_path, **CLOUD)


def test_a_lock_is_stale_when_its_process_on_this_machine_is_gone():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = socket.gethostname()
    line = "  file:///x: created by alice@{} (pid {}) at 2026-11-22T11:49:07Z"
    assert backend.is_stale(line.format(here, gone.pid))
    assert not backend.is_stale(line.format(here, os.getpid()))
    assert not backend.is_stale(line.format("elsewhere", gone.pid))
    assert not backend.is_stale("\n".join([line.format(here, gone.pid), line.format(here, os.getpid())]))
    assert not backend.is_stale("something else")


def test_a_passphrase_is_made_once_and_is_private(tmp_path):
    file = backend.passphrase_file(tmp_path)
    first = file.read_text()
    assert backend.passphrase_file(tmp_path).read_text() == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(first) >= 32


def test_differences_name_what_changed_and_nothing_else():
    wanted = {"labels": {"a": "1"}, "location": "us", "rules": [], "on": True}
    assert list(differences(wanted, {**wanted, "location": "US", "rules": None, "etag": "x"})) == []
    assert list(differences(wanted, {**wanted, "labels": {"a": "2", "goog-x": "y", "b": "3"}})) == [
        'labels.a: "1" -> "2"',
        'labels.b: null -> "3"',
    ]
    assert list(differences(wanted, {**wanted, "on": False})) == ["on: true -> false"]


def test_settings_written_to_a_stack_keep_the_others(tmp_path):
    files = StackFiles(tmp_path)
    files.path_of("alice").write_text(
        "encryptionsalt: v1:x\nconfig:\n  taxiway:owner: a@example.com\n  taxiway:ephemeral: false\n"
        "  taxiway:token:\n    secure: v1:abc\n"
    )
    files.write("acme/taxiway/alice", {"taxiway:project": "acme-data", "gcp:batching": '{"sendAfter": "0s"}'})
    assert files.read("alice") == {
        "taxiway:owner": "a@example.com",
        "taxiway:ephemeral": "false",
        "taxiway:project": "acme-data",
        "gcp:batching": '{"sendAfter": "0s"}',
    }
    text = files.path_of("alice").read_text()
    assert "encryptionsalt: v1:x" in text
    assert "secure: v1:abc" in text


def test_endpoints_are_read_from_the_settings_that_were_written_for_them():
    endpoints = Endpoints("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3")
    assert Endpoints.of_config(endpoints.config()) == endpoints
    assert Endpoints.of_config({}) is None
    bare = Endpoints("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert Endpoints.of_config(bare.config()) == bare
    assert Endpoints.of_config({**endpoints.config(), "gcp:storageCustomEndpoint": ""}) is None


def test_the_default_engine_needs_no_control_plane():
    assert EMULATORS["in-process"] == ("gcs", "bigquery")
    assert "control-plane" in EMULATORS["cli"]


def test_a_backend_that_does_not_answer_hides_no_other_environment(home, tmp_path, monkeypatch):
    write_json(tmp_path / "local.json", {"config": {}, "resources": [], "outputs": {}})
    log_in(home, "https://pulumi.example.com")
    (home / "bin").mkdir()
    program(
        home / "bin",
        "pulumi",
        "[ $1 = version ] && echo v3.272.0 && exit\necho error: no route >&2\nexit 255",
    )
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    found, trouble = stacks(tmp_path)
    assert [stack.name for stack in found] == ["local"]
    assert trouble == ["https://pulumi.example.com could not be asked: no route"]
    assert selected() == ""


def test_without_a_backend_of_their_own_nobody_has_selected_anything(home):
    assert selected() == ""


def program(folder, name, lines):
    (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
    (folder / name).chmod(0o755)


def test_asking_about_a_stack_does_not_select_it(home, tmp_path, monkeypatch):
    """What is selected is the user's choice, and scripts/env follows it."""
    log = home / "log"
    (home / "bin").mkdir()
    program(home / "bin", "pulumi", f"[ $1 = version ] && echo v3.272.0 && exit\necho $* >>{log}")
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    endpoints = Endpoints(*["http://127.0.0.1:9"] * 3)
    assert open_engine("cli", "bob", endpoints, tmp_path, files=StackFiles(tmp_path)).exists()
    assert "stack --stack bob" in log.read_text()
    assert "select" not in log.read_text()


def test_pulumi_carries_the_emulators_token_and_writes_it_nowhere(home, tmp_path, monkeypatch):
    variables = home / "variables"
    (home / "bin").mkdir()
    asked = f"echo $GOOGLE_OAUTH_ACCESS_TOKEN, $* >>{variables}\nexit 1"
    program(home / "bin", "pulumi", f"[ $1 = version ] && echo v3.272.0 && exit\n{asked}")
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    files = StackFiles(tmp_path / "stacks")
    before = Endpoints(*["http://127.0.0.1:9"] * 3)
    files.write("bob", before.config())  # by a release whose emulators asked for no token
    engine = open_engine("cli", "bob", replace(before, token="of-ours"), tmp_path, files=files)
    with pytest.raises(EngineError):
        engine.up()
    asked = [line.split(", ", 1) for line in variables.read_text().splitlines()]
    assert {token for token, _ in asked} == {"of-ours"}
    assert not [arguments for _, arguments in asked if "of-ours" in arguments]
    assert not any("of-ours" in path.read_text() for path in (tmp_path / "stacks").iterdir())
    # The provider would prefer it.
    assert "gcp:accessToken" not in files.read("bob")
    assert files.read("bob")["gcp:storageCustomEndpoint"] == "http://127.0.0.1:9/storage/v1/"


def test_a_missing_pulumi_is_said_with_the_way_without_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    engine = open_engine("cli", "local", Endpoints(*["http://127.0.0.1:9"] * 3), tmp_path)
    with pytest.raises(EngineError, match="no `pulumi` on PATH") as refused:
        engine.outputs()
    assert "--engine in-process" in refused.value.remedy


def test_the_in_process_engine_does_not_go_to_google_cloud(tmp_path):
    with pytest.raises(EngineError, match="knows emulators alone"):
        open_engine("in-process", "alice", None, tmp_path)


@pytest.mark.parametrize(("active", "account"), [(None, "alice@example.com"), ("work", "bob@example.com")])
def test_the_developer_is_who_googles_tools_are_signed_in_as(home, monkeypatch, active, account):
    folder = home / ".config" / "gcloud" / "configurations"
    folder.mkdir(parents=True)
    (folder / "config_default").write_text("[core]\naccount = alice@example.com\n")
    (folder / "config_work").write_text("[core]\naccount = bob@example.com\n")
    if active:
        (folder.parent / "active_config").write_text(active)
    assert environment.developer() == account


def test_nobody_is_signed_in_on_a_fresh_machine(home):
    assert environment.developer() == ""


OUTPUTS = {"GCP_PROJECT_ID": "acme-data", "GCP_LOCATION": "US"}
IMPERSONATION = json.dumps({
    "type": "impersonated_service_account", "source_credentials": {}, "delegates": [],
    "service_account_impersonation_url": "https://iam.test/v1/a@b:generateAccessToken",
})  # fmt: skip


SERVER = "http://127.0.0.1:9085"


def written(outputs, folder):
    found = environment.write_credentials(folder, outputs, SERVER, folder / "secret", folder / "reader")
    return {name: json.loads(file.read_text()) for name, file in found.items()}


def test_without_credentials_there_is_no_file_to_write_and_none_is_left(tmp_path):
    for name in ("google_own_credentials", "google_reader_credentials"):
        (tmp_path / name).touch()
    assert written(OUTPUTS, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_what_tasks_get_and_nobody_else_gets_anything(tmp_path):
    key = {"type": "service_account", "private_key": "x"}
    assert written({**OUTPUTS, "google_credentials": json.dumps(key)}, tmp_path) == {
        "google_credentials": key
    }


def test_the_developers_own_credentials_are_in_a_file_that_tasks_do_not_get(home, tmp_path):
    own = {"type": "authorized_user", "refresh_token": "t"}
    path = environment.own_credentials_path()
    path.parent.mkdir(parents=True)
    for signed_in in (own, {"type": "impersonated_service_account", "source_credentials": own}):
        path.write_text(json.dumps(signed_in))
        found = written({**OUTPUTS, "google_credentials": IMPERSONATION}, tmp_path)
        assert found["google_own_credentials"]["source_credentials"] == {
            **own,
            "quota_project_id": "acme-data",
        }
        tasks = found["google_credentials"]
        assert tasks["service_account_impersonation_url"] == f"{SERVER}/v1/a@b:generateAccessToken"
        assert tasks["credential_source"] == {"file": str(tmp_path / "secret")}
        assert "source_credentials" not in tasks


def test_the_api_server_gets_the_readers_own_account_and_shows_a_secret_of_its_own(home, tmp_path):
    path = environment.own_credentials_path()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"type": "authorized_user", "refresh_token": "t"}))
    reader = IMPERSONATION.replace("a@b", "reader@b")
    found = written(
        {**OUTPUTS, "google_credentials": IMPERSONATION, "google_reader_credentials": reader}, tmp_path
    )
    assert found["google_own_credentials"]["service_account_impersonation_url"].endswith(
        "/a@b:generateAccessToken"
    )
    api_server = found["google_reader_credentials"]
    assert api_server["service_account_impersonation_url"] == f"{SERVER}/v1/reader@b:generateAccessToken"
    assert api_server["credential_source"] == {"file": str(tmp_path / "reader")}
    assert "source_credentials" not in api_server


def test_who_is_not_signed_in_is_told_how(home):
    with pytest.raises(EngineError, match="no credentials of your own") as refused:
        environment.impersonating(json.loads(IMPERSONATION), "acme-data")
    assert "gcloud auth application-default login" in refused.value.remedy


@pytest.mark.parametrize("kind", ["external_account", "gdch_service_account", None])
def test_credentials_that_can_impersonate_nobody_are_refused_before_a_task_finds_out(home, kind):
    from google.auth import exceptions, impersonated_credentials

    own = {"type": kind, "audience": "x", "credential_source": {"file": "/token"}}
    path = environment.own_credentials_path()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(own))
    with pytest.raises(EngineError, match=f"is of the type {kind}, with which") as refused:
        environment.impersonating(json.loads(IMPERSONATION), "acme-data")
    assert "workload-identity" in refused.value.remedy
    with pytest.raises(exceptions.InvalidType):
        impersonated_credentials.Credentials.from_impersonated_service_account_info(
            {**json.loads(IMPERSONATION), "source_credentials": own}
        )


def test_what_people_see_hides_the_credential_file():
    key = '{"private_key": "abc"}'
    shown = environment.masked({**OUTPUTS, "google_credentials": key, "google_reader_credentials": key})
    assert "abc" not in repr(shown)
    assert shown["GCP_PROJECT_ID"] == "acme-data"
    assert "google_credentials" not in environment.variables({**OUTPUTS, "google_credentials": "x"})


def test_stack_files_of_emulators_stay_out_of_git():
    done = subprocess.run(
        ["git", "check-ignore", "infra/stacks/Pulumi.local.yaml", "infra/stacks/Pulumi.alice.yaml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["infra/stacks/Pulumi.local.yaml"]


def test_asking_for_an_engine_does_not_import_pulumi():
    program = "import sys, taxiway.infrastructure; print('pulumi' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("before", [None, "config:\n  taxiway:owner: a@example.com # mine\n"])
def test_a_file_that_was_borrowed_is_as_it_was(tmp_path, before):
    files = StackFiles(tmp_path)
    path = files.path_of("alice")
    if before:
        path.write_text(before)
    with pytest.raises(EngineError), files.untouched("alice"):
        files.write("alice", {"taxiway:project": "acme-data"})
        raise EngineError("interrupted")
    assert (path.read_text() if path.exists() else None) == before
