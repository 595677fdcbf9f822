import json
import os
import subprocess
import sys
import time

import pytest
import requests

from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import (
    Endpoints,
    EngineError,
    StackNotRemovedError,
    open_engine,
    stackfile,
    teardown,
)
from taxiway.infrastructure.api import Api
from taxiway.infrastructure.in_process import InProcessEngine
from taxiway.infrastructure.stacks import stacks

pytestmark = pytest.mark.emulators
OWNER = {"taxiway:owner": "alice@example.com"}
KEY = {"taxiway:credentials": "key"}
PROTECTED = {"taxiway:ephemeral": "false"}


@pytest.fixture
def endpoints(emulators):
    return Endpoints(emulators.storage_url, emulators.bigquery_url, emulators.control_plane_url)


@pytest.fixture
def stack(request):
    """A stack name of the test's own: the emulators are the whole session's."""
    return "t" + str(abs(hash(request.node.name)))[:8]


@pytest.fixture
def engine(stack, endpoints, tmp_path):
    """Open the test's stack with some settings; whatever is left of it goes at the end."""

    def open_with(config=None, name=stack):
        return open_engine("in-process", name, endpoints, tmp_path, config)

    yield open_with
    for state in tmp_path.glob("*.json"):
        open_with(name=state.stem).up()
        teardown.destroy(open_with(name=state.stem))


@pytest.fixture
def bucket_url(emulators):
    return lambda outputs: f"{emulators.storage_url}/storage/v1/b/{outputs['GCP_GCS_BUCKET']}"


@pytest.fixture
def dataset_url(emulators):
    base = f"{emulators.bigquery_url}/bigquery/v2/projects/taxiway-local/datasets"
    return lambda outputs: f"{base}/{outputs['BIGQUERY_DATASET']}"


def load(emulators, outputs):
    """Put an object into the lake and a row into the warehouse."""
    upload = f"{emulators.storage_url}/upload/storage/v1/b/{outputs['GCP_GCS_BUCKET']}/o"
    requests.post(
        upload, params={"uploadType": "media", "name": "raw/yellow/a b.parquet"}, data=b"x"
    ).raise_for_status()
    query = {"query": f"CREATE TABLE {outputs['BIGQUERY_DATASET']}.t AS SELECT 1 AS n", "useLegacySql": False}
    url = f"{emulators.bigquery_url}/bigquery/v2/projects/{outputs['GCP_PROJECT_ID']}/queries"
    requests.post(url, json=query).raise_for_status()


def test_up_makes_what_the_program_declares(engine, bucket_url, dataset_url, emulators, stack):
    outputs = engine(OWNER).up()
    bucket = requests.get(bucket_url(outputs)).json()
    assert bucket["labels"] == {"managed-by": "pulumi", "taxiway-owner": "alice", "taxiway-stack": stack}
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
    assert bucket["lifecycle"]["rule"] == [{"action": {"type": "Delete"}, "condition": {"age": 60}}]
    dataset = requests.get(dataset_url(outputs)).json()
    assert dataset["location"] == bucket["location"] == outputs["GCP_LOCATION"] == "US"
    assert outputs["STORAGE_EMULATOR_HOST"] == emulators.storage_url


def test_the_pipelines_account_gets_its_three_rights(engine, emulators, bucket_url, dataset_url, stack):
    outputs = engine().up()
    email = f"taxiway-{stack}@taxiway-local.iam.gserviceaccount.com"
    bindings = requests.get(f"{bucket_url(outputs)}/iam").json()["bindings"]
    assert {"role": "roles/storage.objectAdmin", "members": [f"serviceAccount:{email}"]} in bindings
    access = requests.get(dataset_url(outputs)).json()["access"]
    assert [entry["role"] for entry in access if entry.get("userByEmail") == email] in (
        ["WRITER"],
        ["roles/bigquery.dataEditor"],
    )
    assert {"role": "OWNER", "specialGroup": "projectOwners"} in access
    url = f"{emulators.control_plane_url}/crm/v1/projects/taxiway-local:getIamPolicy"
    jobs = [
        b for b in requests.post(url, json={}).json()["bindings"] if b["role"] == "roles/bigquery.jobUser"
    ]
    assert f"serviceAccount:{email}" in jobs[0]["members"]


def test_a_second_up_changes_nothing(engine, emulators, bucket_url):
    outputs = engine().up()
    load(emulators, outputs)
    before = requests.get(f"{bucket_url(outputs)}/o").json()["items"]
    assert engine().preview() == []
    assert engine().up() == outputs
    assert engine().outputs() == outputs
    assert engine().drift() == []
    assert requests.get(f"{bucket_url(outputs)}/o").json()["items"] == before


def test_up_takes_what_is_there_without_having_made_it(engine, tmp_path):
    outputs = engine().up()
    for state in tmp_path.glob("*.json"):
        state.unlink()
    assert engine().up() == outputs


def test_preview_says_what_an_up_would_change_and_changes_nothing(engine, bucket_url):
    assert {change.action for change in engine().preview()} == {"create"}
    outputs = engine().up()
    changes = engine(OWNER).preview()
    assert [(change.action, change.title.split()[0]) for change in changes] == [
        ("update", "dataset"),
        ("update", "bucket"),
    ]
    assert all("labels.taxiway-owner" in " ".join(change.details) for change in changes)
    assert requests.get(bucket_url(outputs)).json()["labels"]["taxiway-owner"] != "alice"


def test_an_update_takes_out_what_is_no_longer_wanted(engine, dataset_url):
    outputs = engine().up()
    assert "defaultTableExpirationMs" in requests.get(dataset_url(outputs)).json()
    engine({"taxiway:datasetExpiryDays": "0"}).up()
    assert not requests.get(dataset_url(outputs)).json().get("defaultTableExpirationMs")
    assert engine({"taxiway:datasetExpiryDays": "0"}).drift() == []


def test_a_stack_is_there_once_anything_of_it_is(engine):
    assert not engine().exists()
    engine().up()
    assert engine().exists()
    teardown.destroy(engine())
    assert not engine().exists()


def test_a_stack_is_not_forgotten_before_nothing_is_left_of_it(engine, endpoints, stack):
    engine().up()
    api = Api.of(endpoints)
    stray = {"name": f"stray-{stack}", "labels": {"taxiway-stack": stack}}
    api.send("POST", f"{api.storage}/b", stray, project="taxiway-local")
    for _ in range(2):
        with pytest.raises(StackNotRemovedError, match=f"left something behind: bucket stray-{stack}"):
            teardown.destroy(engine())
        assert engine().exists()
    api.delete(f"{api.storage}/b/stray-{stack}")
    teardown.destroy(engine())
    assert not engine().exists()


def test_a_label_changed_behind_its_back_is_drift(engine, bucket_url, stack):
    outputs = engine().up()
    requests.patch(bucket_url(outputs), json={"labels": {"taxiway-owner": "mallory", "extra": "x"}})
    drift = engine().drift()
    assert [(d.title, d.details) for d in drift] == [
        (
            f"bucket {outputs['GCP_GCS_BUCKET']}",
            ('labels.extra: null -> "x"', f'labels.taxiway-owner: "{stack}" -> "mallory"'),
        )
    ]
    engine().up()
    assert engine().drift() == []


def test_a_right_taken_away_behind_its_back_is_drift(engine, bucket_url):
    outputs = engine().up()
    requests.put(f"{bucket_url(outputs)}/iam", json={"bindings": []})
    assert [d.details for d in engine().drift()] == [("it is gone",)]


def test_destroy_removes_everything_with_its_data_and_says_what(engine, emulators, tmp_path):
    outputs = engine().up()
    load(emulators, outputs)
    removed = teardown.destroy(engine())
    assert f"bucket {outputs['GCP_GCS_BUCKET']}" in removed
    assert f"dataset {outputs['BIGQUERY_DATASET']}" in removed
    assert engine().leftovers() == []
    assert list(tmp_path.glob("*.json")) == []
    assert teardown.destroy(engine()) == []


def test_what_is_left_is_found_by_name_and_by_label(engine, endpoints, stack):
    outputs = engine().up()
    api = Api.of(endpoints)
    found = engine().leftovers()
    assert [item.split()[0] for item in found] == ["bucket", "dataset", "roles/bigquery.jobUser", "service"]
    api.send("PATCH", f"{api.storage}/b/{outputs['GCP_GCS_BUCKET']}", {"labels": {"taxiway-stack": None}})
    assert f"bucket {outputs['GCP_GCS_BUCKET']}" in engine().leftovers()
    other = {"name": f"stray-{stack}", "labels": {"taxiway-stack": stack}}
    api.send("POST", f"{api.storage}/b", other, project="taxiway-local")
    assert f"bucket stray-{stack}" in engine().leftovers()
    api.delete(f"{api.storage}/b/stray-{stack}")


def test_a_protected_stack_is_not_destroyed(engine):
    engine(PROTECTED).up()
    with pytest.raises(EngineError, match=r"Protected, so not removed: bucket .*, dataset ") as refused:
        engine(PROTECTED).destroy()
    assert "taxiway:ephemeral" in refused.value.remedy
    assert engine(PROTECTED).drift() == []


def test_a_protected_stack_goes_once_it_is_made_ephemeral(engine, emulators):
    load(emulators, engine(PROTECTED).up())
    teardown.destroy(engine())
    assert engine().leftovers() == []


def test_a_stack_is_what_its_settings_say(engine, stack, bucket_url, tmp_path, monkeypatch):
    monkeypatch.setattr(stackfile, "FOLDER", tmp_path / "stacks")
    stackfile.write(stack, {"taxiway:location": "EU", "taxiway:credentials": "key"})
    outputs = engine().up()
    assert requests.get(bucket_url(outputs)).json()["location"] == "EU"
    assert json.loads(outputs["google_credentials"])["type"] == "service_account"
    stackfile.write(stack, {"taxiway:project": "acme-data"})
    with pytest.raises(EngineError, match="is a stack on Google Cloud"):
        engine()


def test_a_passphrase_that_was_replaced_is_said(engine, tmp_path):
    engine(KEY).up()
    kept = (tmp_path / "passphrase").read_text()
    (tmp_path / "passphrase").write_text("another")
    with pytest.raises(EngineError, match="is not what the state beside it is encrypted with"):
        engine(KEY).outputs()
    (tmp_path / "passphrase").write_text(kept)


def test_a_protected_bucket_is_not_replaced(engine):
    engine(PROTECTED).up()
    with pytest.raises(EngineError, match="Protected"):
        engine({**PROTECTED, "taxiway:location": "EU"}).up()


def test_an_ephemeral_stack_moves_when_its_location_does(engine, bucket_url):
    engine().up()
    changes = engine({"taxiway:location": "EU"}).preview()
    assert {change.action for change in changes if change.title.startswith(("bucket", "dataset"))} == {
        "replace"
    }
    outputs = engine({"taxiway:location": "EU"}).up()
    assert requests.get(bucket_url(outputs)).json()["location"] == "EU"
    assert engine({"taxiway:location": "EU"}).drift() == []


def test_a_wrong_setting_leaves_everything_as_it_was(engine, tmp_path):
    with pytest.raises(EngineError, match="taxiway:location is 'mars'"):
        engine({"taxiway:location": "mars"}).up()
    assert list(tmp_path.glob("*.json")) == []


def test_two_stacks_side_by_side_do_not_touch_each_other(engine, emulators, stack):
    mine, theirs = engine(), engine(name=f"{stack}-other")
    outputs, others = mine.up(), theirs.up()
    load(emulators, outputs)
    load(emulators, others)
    assert not set(outputs.values()) & {others["GCP_GCS_BUCKET"], others["BIGQUERY_DATASET"]}
    teardown.destroy(mine)
    assert theirs.drift() == []
    assert theirs.up() == others


def test_a_key_is_made_once_and_goes_with_the_mode(engine):
    first = json.loads(engine(KEY).up()["google_credentials"])
    assert first["type"] == "service_account"
    assert json.loads(engine(KEY).up()["google_credentials"]) == first
    assert [change.title.split()[0] for change in engine().preview() if change.action == "delete"] == ["key"]
    assert "google_credentials" not in engine().up()


def test_the_secret_is_neither_in_the_state_nor_in_what_is_shown(engine, tmp_path, capfd, caplog):
    running = engine(KEY)
    with caplog.at_level("DEBUG"):
        key = json.loads(running.up()["google_credentials"])["private_key"]
        shown = repr(running.preview()) + repr(running.drift()) + repr(stacks(tmp_path)) + repr(running)
    body = key.splitlines()[1]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert all(body not in path.read_text() for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    output = capfd.readouterr()
    assert body not in shown + output.out + output.err + caplog.text


def test_an_up_that_failed_half_way_is_continued(engine, monkeypatch):
    def refuse(*_):
        raise EngineError("The emulator had enough.")

    monkeypatch.setattr("taxiway.infrastructure.resources.members.ProjectMember.read", refuse)
    with pytest.raises(EngineError, match="had enough"):
        engine().up()
    monkeypatch.undo()
    assert [change.action for change in engine().preview()].count("create") <= 3
    engine().up()
    assert engine().drift() == engine().preview() == []


@pytest.mark.parametrize("operation", ["up", "destroy"])
def test_what_was_killed_is_continued(engine, emulators, endpoints, stack, tmp_path, operation):
    load(emulators, engine().up())
    for state in tmp_path.glob("*.json") if operation == "up" else ():
        state.unlink()
    for tenths in (4, 6, 8):
        process = spawn(f"engine.{operation}()", stack, endpoints, tmp_path)
        time.sleep(tenths / 10)
        process.kill()
        process.communicate()
    engine().up() if operation == "up" else teardown.destroy(engine())
    assert bool(engine().leftovers()) == (operation == "up")
    assert engine().drift() == []


@pytest.mark.parametrize("moment", ["before it is sent", "before its answer is noted"])
def test_a_teardown_interrupted_at_any_change_is_continued(engine, emulators, monkeypatch, moment):
    """Every change that a teardown makes is interrupted once; the next teardown finishes."""
    call, changes = Api._call, []

    def interrupted(api, method, *rest, **options):
        if method == "GET" or len(changes) != number:
            changes.append(method) if method != "GET" else None
            return call(api, method, *rest, **options)
        if moment == "before its answer is noted":
            call(api, method, *rest, **options)
        raise KeyboardInterrupt

    for number in range(100):  # noqa: B007 - read by the one that interrupts
        load(emulators, engine().up())
        changes.clear()
        monkeypatch.setattr(Api, "_call", interrupted)
        try:
            teardown.destroy(engine())
        except KeyboardInterrupt:
            monkeypatch.undo()
            assert engine().exists()
            teardown.destroy(engine())
            assert engine().leftovers() == []
        else:
            break
    monkeypatch.undo()
    assert engine().leftovers() == []
    assert not engine().exists()
    assert len(changes) >= 7


def test_stacks_are_listed_with_owner_age_and_target(engine, tmp_path, stack):
    engine(OWNER).up()
    (found,) = [info for info in stacks(tmp_path).stacks if info.name == stack]
    assert (found.owner, found.target, found.resources, found.dollars) == (
        "alice@example.com",
        "emulators",
        11,
        0,
    )
    assert found.created <= found.updated


def test_an_emulator_that_is_gone_is_said_in_a_sentence(tmp_path):
    nowhere = Endpoints(*["http://127.0.0.1:9"] * 3)
    config = {"taxiway:project": "taxiway-local", "taxiway:credentials": "anonymous"}
    with pytest.raises(EngineError, match="got no answer"):
        InProcessEngine("lost", config, nowhere, tmp_path).up()


def test_up_takes_less_than_two_seconds_with_its_imports(endpoints, stack, tmp_path):
    """Counted in processor time: the machine may be busy with others."""
    work = "engine.up(); print(time.process_time()); engine.destroy(); engine.forget()"
    output, errors = spawn(work, stack, endpoints, tmp_path).communicate()
    assert float(output) < 2
    assert errors == ""


def spawn(work, stack, endpoints, folder):
    """Run Python statements about `engine` in a process of their own, with bytecode as users have it."""
    program = (
        "import time; from pathlib import Path; from taxiway.infrastructure import Endpoints, open_engine\n"
        f"endpoints = Endpoints(*{list(vars(endpoints).values())!r})\n"
        f"engine = open_engine('in-process', {stack!r}, endpoints, Path({str(folder)!r}))\n{work}"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", program]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
