"""The real `pulumi` and GCP provider, where they are on PATH, against the emulators."""

import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import emulators as cloud
import psutil
import pytest
import requests
import yaml

from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import Endpoints, EngineError, open_engine, teardown
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.infrastructure.stacks import stacks

pytestmark = [
    pytest.mark.pulumi,
    pytest.mark.emulators,
    pytest.mark.skipif(not shutil.which("pulumi"), reason="pulumi is not on PATH"),
]
FEDERATED = {
    "taxiway:credentials": "workload-identity",
    "taxiway:workloadIdentityProvider": (
        "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github"
    ),
    "taxiway:workloadIdentityPrincipal": "attribute.repository/acme/taxiway",
}
OWNER = {"taxiway:owner": "alice@example.com"}
NAME = "local-test-cli"
FILES = StackFiles()


def endpoints_of(emulators):
    return Endpoints(emulators.storage_url, emulators.bigquery_url, emulators.control_plane_url)


@pytest.fixture
def endpoints(emulators):
    return endpoints_of(emulators)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """State of the test's own, whatever backend and passphrase the developer has."""
    for name in [
        name for name in os.environ if name.startswith(("PULUMI_CONFIG_PASSPHRASE", "PULUMI_BACKEND"))
    ]:
        monkeypatch.delenv(name)
    yield tmp_path
    FILES.remove(NAME)


@pytest.fixture
def engine(endpoints, folder):
    def open_with(config=None, name=NAME, at=endpoints):
        return open_engine("cli", name, at, folder, config)

    yield open_with
    for info in stacks(folder).stacks:
        left = open_with({"taxiway:ephemeral": "true"}, info.name)
        left.destroy()
        left.forget()


def pulumi(folder, *words):
    """What `pulumi` ends with for a developer whose backend and passphrase are in `folder`."""
    environment = {
        **os.environ,
        "PATH": f"{REPOSITORY / '.tools' / 'uv' / 'bin'}:{os.environ['PATH']}",
        "PULUMI_BACKEND_URL": f"file://{folder / 'pulumi'}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder / "passphrase"),
    }
    command = ["pulumi", *words, "--stack", NAME, "--non-interactive"]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )


def bucket_url(outputs):
    return f"{outputs['STORAGE_EMULATOR_HOST']}/storage/v1/b/{outputs['GCP_GCS_BUCKET']}"


def load(outputs):
    upload = f"{outputs['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{outputs['GCP_GCS_BUCKET']}/o"
    name = {"uploadType": "media", "name": "raw/yellow/a.parquet"}
    requests.post(upload, params=name, data=b"x").raise_for_status()
    query = {"query": f"CREATE TABLE {outputs['BIGQUERY_DATASET']}.t AS SELECT 1 AS n", "useLegacySql": False}
    url = f"{outputs['BIGQUERY_EMULATOR_HOST']}/bigquery/v2/projects/{outputs['GCP_PROJECT_ID']}/queries"
    requests.post(url, json=query).raise_for_status()


def test_a_life_from_up_to_proven_teardown(engine, folder):
    assert {change.action for change in engine().preview()} == {"create"}
    assert not engine().exists()
    assert not FILES.path_of(NAME).exists()
    outputs = engine().up()
    assert engine().preview() == []
    assert engine().drift() == []
    load(outputs)
    assert engine().drift() == []
    requests.patch(bucket_url(outputs), json={"labels": {"taxiway-owner": "mallory"}})
    assert [drift.title for drift in engine().drift()] == [f"bucket {outputs['GCP_GCS_BUCKET']}"]
    requests.put(f"{bucket_url(outputs)}/iam", json={"bindings": []}).raise_for_status()
    assert engine().up() == outputs
    assert engine().drift() == []
    assert engine(OWNER).up() == outputs
    assert requests.get(bucket_url(outputs)).json()["labels"]["taxiway-owner"] == "alice"
    assert [(info.name, info.owner, info.target) for info in stacks(folder).stacks] == [
        (NAME, "alice@example.com", "emulators")
    ]
    assert f"bucket {outputs['GCP_GCS_BUCKET']}" in teardown.destroy(engine())
    assert teardown.destroy(engine()) == []
    assert not FILES.path_of(NAME).exists()


def test_what_somebody_deleted_by_hand_does_not_hold_up_the_teardown(engine):
    requests.delete(bucket_url(engine().up())).raise_for_status()
    teardown.destroy(engine())


def test_both_engines_give_the_same_outputs(engine, endpoints, tmp_path):
    real = engine().up()
    teardown.destroy(engine())
    other = open_engine("in-process", NAME, endpoints, tmp_path / "other")
    assert other.up() == real
    teardown.destroy(other)


def test_every_credential_mode_comes_up_and_changes_into_the_next(engine):
    for config in (
        {**OWNER, "taxiway:credentials": "impersonation"},
        {"taxiway:credentials": "key"},
        FEDERATED,
    ):
        outputs = engine(config).up()
        for name in ("google_credentials", "google_reader_credentials"):
            assert json.loads(outputs[name])["type"]
        assert any("--reader@" in left for left in engine(config).leftovers())
        assert engine(config).preview() == []
        assert engine(config).drift() == []
    teardown.destroy(engine())


def test_a_runner_lives_from_up_to_proven_teardown(engine):
    runner = {**OWNER, "taxiway:runner": "true"}
    engine(runner).up()
    assert engine(runner).preview() == engine(runner).drift() == []
    larger = {**runner, "taxiway:runnerMachine": "e2-standard-4"}
    assert [(change.action, change.title.split()[0]) for change in engine(larger).preview()] == [
        ("update", "machine")
    ]
    engine(larger).up()
    assert engine(larger).preview() == []
    # Only now it has snapshots, and they stay with the stack.
    protected = {**larger, "taxiway:ephemeral": "false"}
    engine(protected).up()
    assert engine(protected).preview() == []
    gone = teardown.destroy(engine({**larger, "taxiway:ephemeral": "true"}))
    assert {"machine", "disk", "NAT", "secret", "network"} <= {title.split()[0] for title in gone}


def test_an_update_of_the_dataset_leaves_the_pipelines_right_to_it(engine):
    """The provider leaves the list out of its PUT unless it changed, and the emulator then resets it."""
    engine(OWNER).up()
    for changed in ({"taxiway:datasetExpiryDays": "7"}, {"taxiway:ephemeral": "false"}):
        engine({**OWNER, **changed}).up()
        assert engine({**OWNER, **changed}).drift() == []


def test_a_protected_stack_goes_once_it_is_made_ephemeral(engine):
    protected = {"taxiway:ephemeral": "false"}
    load(engine(protected).up())
    assert engine(protected).preview() == engine(protected).drift() == []
    with pytest.raises(EngineError, match="is protected, so nothing of it is removed"):
        engine(protected).destroy()
    teardown.destroy(engine({"taxiway:ephemeral": "true"}))


def test_a_protected_stack_survives_a_bare_pulumi_destroy_whole(engine, folder):
    """Grants and account are the leaves, which it would delete first, before it comes to what refuses."""
    engine({"taxiway:ephemeral": "false"}).up()
    before = engine().leftovers()
    done = pulumi(folder, "destroy", "--yes")
    assert done.returncode != 0
    assert "protected" in done.stdout + done.stderr
    assert engine().leftovers() == before
    assert engine({"taxiway:ephemeral": "false"}).drift() == []
    teardown.destroy(engine({"taxiway:ephemeral": "true"}))


def test_neither_state_nor_settings_hold_the_key_in_plain_text(engine, folder, capfd):
    key = json.loads(engine({"taxiway:credentials": "key"}).up()["google_credentials"])["private_key"]
    body = key.splitlines()[1]
    files = [path for path in folder.rglob("*") if path.is_file()] + [FILES.path_of(NAME)]
    assert len(files) > 3
    assert all(body not in path.read_text(errors="replace") for path in files)
    output = capfd.readouterr()
    assert body not in output.out + output.err


def test_what_was_killed_is_continued_however_often(engine, endpoints, folder):
    def left(word):
        return any(item.startswith(word) for item in engine().leftovers())

    # The account takes eleven seconds, in which the provider waits for what is there already.
    for made in ("service account", "bucket", "roles/"):
        kill("up", endpoints, folder, lambda made=made: left(made))
    outputs = engine().up()
    assert engine().preview() == engine().drift() == []
    load(outputs)
    for gone in ("roles/", "dataset", "bucket", "service account"):
        kill("destroy", endpoints, folder, lambda gone=gone: not left(gone))
    teardown.destroy(engine())


def test_two_stacks_side_by_side_do_not_touch_each_other(engine):
    mine, theirs = engine().up(), engine(name=f"{NAME}-other").up()
    load(mine)
    load(theirs)
    assert not {mine["GCP_GCS_BUCKET"], mine["BIGQUERY_DATASET"]} & set(theirs.values())
    teardown.destroy(engine())
    assert engine(name=f"{NAME}-other").drift() == engine(name=f"{NAME}-other").preview() == []
    assert engine(name=f"{NAME}-other").outputs() == theirs


def test_emulators_that_have_moved_are_asked_where_they_are(engine, tmp_path_factory):
    """Their old ports are in the state, and another checkout's emulators may have them by now."""
    data = tmp_path_factory.mktemp("moving")
    with cloud.running(data) as running:
        before = endpoints_of(running)
        load(engine(at=before).up())
    with strangers(before) as asked, cloud.running(data) as running:
        after = endpoints_of(running)
        assert engine(at=after).preview() == engine(at=after).drift() == []
        assert engine(at=after).up()["STORAGE_EMULATOR_HOST"] == after.storage
    with strangers(before, after) as asked_again, cloud.running(data) as running:
        teardown.destroy(engine(at=endpoints_of(running)))
    assert asked + asked_again == []


def test_another_updates_lock_is_said_with_the_command_that_clears_it(engine, folder):
    engine().up()
    lock = next((folder / "pulumi" / ".pulumi").rglob(f"stacks/**/{NAME}.json"))
    locks = folder / "pulumi" / ".pulumi" / "locks" / "organization" / lock.parent.name / NAME
    locks.mkdir(parents=True, exist_ok=True)
    held = {
        "pid": os.getpid(),
        "username": "bob",
        "hostname": "elsewhere",
        "timestamp": "2026-01-01T00:00:00Z",
    }
    (locks / "held.json").write_text(json.dumps(held))
    with pytest.raises(EngineError, match="is locked by another update") as refused:
        engine().up()
    command = refused.value.remedy.split(": ", 1)[1]
    passphrase = {"PULUMI_CONFIG_PASSPHRASE_FILE": str(folder / "passphrase")}
    subprocess.run(command, shell=True, check=True, cwd=REPOSITORY, env={**os.environ, **passphrase})
    assert engine().up()


def test_the_settings_of_a_stack_on_google_cloud_are_not_overwritten_by_one_on_emulators(engine):
    name = f"{NAME}-cloud"
    FILES.write(name, {"taxiway:project": "acme-data", **OWNER})
    try:
        with pytest.raises(EngineError, match="is a stack on Google Cloud"):
            engine(name=name).up()
        assert yaml.safe_load(FILES.path_of(name).read_text())["config"]["taxiway:project"] == "acme-data"
    finally:
        FILES.remove(name)


def test_without_a_wrapper_pulumi_up_and_the_policy_pack_suffice(engine, endpoints, folder):
    (folder / "pulumi").mkdir()
    (folder / "passphrase").write_text("correct horse")
    FILES.write(
        NAME, {**endpoints.config(), "taxiway:project": "acme-data", "taxiway:credentials": "anonymous"}
    )
    assert pulumi(folder, "stack", "init").returncode == 0
    done = pulumi(folder, "preview", "--policy-pack", "infra/policy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "taxiway@v1.0.0" in done.stdout


@contextmanager
def strangers(*places):
    """Listen where emulators were; yield the ports that somebody speaks to."""
    asked = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            asked.append(self.server.server_address)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with ExitStack() as stack:
        for place in places:
            for url in (place.storage, place.bigquery, place.control_plane):
                server = stack.enter_context(Server(("127.0.0.1", urlsplit(url).port), Handler))
                threading.Thread(target=server.serve_forever, daemon=True).start()
                stack.callback(server.shutdown)
        yield asked


def kill(operation, endpoints, folder, when):
    """Start an operation and kill it, with all its children, once a condition holds."""
    program = (
        "from pathlib import Path; from taxiway.infrastructure import Endpoints, open_engine\n"
        f"endpoints = Endpoints(*{list(vars(endpoints).values())!r})\n"
        f"open_engine('cli', {NAME!r}, endpoints, Path({str(folder)!r})).{operation}()"
    )
    process = psutil.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 300
    while process.poll() is None and not when():
        assert time.monotonic() < deadline, f"{operation} does not come as far as that"
        time.sleep(0.05)
    # Pulumi's plugins lead process groups of their own, and outlive it otherwise.
    for member in [*process.children(recursive=True), process]:
        member.kill()
    process.wait()
    time.sleep(1)
