"""The engine that needs no `pulumi`, on the storage and the BigQuery emulator, and on nothing else."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest
import requests

from taxiway.infrastructure import (
    LOCAL_CONFIG,
    Endpoints,
    EngineError,
    StackNotRemovedError,
    open_engine,
    teardown,
)
from taxiway.infrastructure.api import Api
from taxiway.infrastructure.in_process import InProcessEngine
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.infrastructure.stacks import stacks

pytestmark = pytest.mark.emulators
OWNER = {"taxiway:owner": "alice@example.com"}
KEY = {"taxiway:credentials": "key"}
PROTECTED = {"taxiway:ephemeral": "false"}
NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Faulty(Api):
    """An API whose change number `number` fails: before it is sent, or before its answer is noted."""

    number: int = 0
    failure: type[BaseException] = EngineError
    answered: bool = False
    changes: list = field(default_factory=list)

    def send(self, method, url, body=None, **query):
        return self._fail_or(lambda: Api.send(self, method, url, body, **query))

    def delete(self, url, **query):
        return self._fail_or(lambda: Api.delete(self, url, **query))

    def _fail_or(self, change):
        if len(self.changes) == self.number:
            if self.answered:
                change()
            raise self.failure("the emulator had enough")
        self.changes.append(change)
        return change()


@pytest.fixture
def endpoints(emulators):
    # Where a control plane would be, nobody listens.
    return Endpoints(emulators.storage_url, emulators.bigquery_url, NOBODY)


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
def faulty(stack, endpoints, tmp_path):
    """Open the test's stack on an API that fails at one change."""

    def open_with(number, **how):
        urls = Api.of(Endpoints(endpoints.storage, endpoints.bigquery))
        api = Faulty(**{name: getattr(urls, name) for name in vars(urls)}, number=number, **how)
        return InProcessEngine(stack, LOCAL_CONFIG, endpoints, tmp_path, api), api.changes

    return open_with


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
    logs = {"age": 30, "matchesPrefix": ["logs/"]}
    assert bucket["lifecycle"]["rule"] == [
        {"action": {"type": "Delete"}, "condition": condition} for condition in (logs, {"age": 60})
    ]
    dataset = requests.get(dataset_url(outputs)).json()
    assert dataset["location"] == bucket["location"] == outputs["GCP_LOCATION"] == "US"
    assert outputs["STORAGE_EMULATOR_HOST"] == emulators.storage_url


def test_the_pipelines_account_gets_its_rights_to_the_data(engine, bucket_url, dataset_url, stack):
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


def test_an_update_adds_the_reader_which_may_read_the_data_alone(engine, bucket_url, dataset_url, stack):
    """On emulators a stack has none until somebody could act as it."""
    engine().up()
    email = f"taxiway-{stack}--reader@taxiway-local.iam.gserviceaccount.com"
    named = {**OWNER, "taxiway:credentials": "impersonation"}
    outputs = engine(named).up()
    assert email in outputs["google_reader_credentials"]
    bindings = requests.get(f"{bucket_url(outputs)}/iam").json()["bindings"]
    roles = [one["role"] for one in bindings if f"serviceAccount:{email}" in one["members"]]
    assert roles == ["roles/storage.objectViewer"]
    access = requests.get(dataset_url(outputs)).json()["access"]
    assert [one["role"] for one in access if one.get("userByEmail") == email] == ["READER"]
    assert engine(named).preview() == engine(named).drift() == []
    assert f"service account taxiway-{stack}--reader" in teardown.destroy(engine(named))


def test_a_reader_that_is_left_behind_is_found(emulators, stack):
    urls = (emulators.storage_url, emulators.bigquery_url, emulators.control_plane_url)
    api, reader = Api.of(Endpoints(*urls)), f"taxiway-{stack}--reader"
    accounts = f"{api.iam}/projects/taxiway-local/serviceAccounts"
    api.send("POST", accounts, {"accountId": reader})
    email = f"{reader}@taxiway-local.iam.gserviceaccount.com"
    assert teardown.leftovers(api, "taxiway-local", stack) == [f"service account {email}"]
    api.delete(f"{accounts}/{email}")
    assert teardown.leftovers(api, "taxiway-local", stack) == []


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


def test_a_right_taken_away_is_drift_and_comes_back(engine, bucket_url, dataset_url):
    outputs = engine().up()
    requests.put(f"{bucket_url(outputs)}/iam", json={"bindings": []}).raise_for_status()
    requests.patch(dataset_url(outputs), json={"access": []}).raise_for_status()
    drift = engine().drift()
    details = {d.title.split()[0]: d.details for d in drift}
    for role in ("objectAdmin", "legacyBucketReader"):
        assert details.pop(f"roles/storage.{role}") == ("it is gone",)
    (missing,) = [line for line in details.pop("dataset") if "gserviceaccount" in line]
    assert missing.endswith('"WRITER" -> null')
    assert details == {}
    engine().up()
    assert engine().drift() == []


def test_a_right_that_somebody_added_is_drift(engine, bucket_url, dataset_url):
    """On the bucket it stays theirs; the dataset's access list is the stack's own."""
    outputs = engine().up()
    policy = requests.get(f"{bucket_url(outputs)}/iam").json()
    public = {"role": "roles/storage.objectViewer", "members": ["allUsers"]}
    policy["bindings"].append(public)
    requests.put(f"{bucket_url(outputs)}/iam", json=policy).raise_for_status()
    access = requests.get(dataset_url(outputs)).json()["access"]
    access.append({"role": "READER", "specialGroup": "allAuthenticatedUsers"})
    requests.patch(dataset_url(outputs), json={"access": access}).raise_for_status()
    dataset, on_bucket = engine().drift()
    assert on_bucket.title == f"roles/storage.objectViewer on bucket {outputs['GCP_GCS_BUCKET']} for allUsers"
    assert dataset.title == f"dataset {outputs['BIGQUERY_DATASET']}"
    assert dataset.details == ('access.allAuthenticatedUsers: null -> "READER"',)
    engine().up()
    assert engine().drift() == [on_bucket]
    assert public in requests.get(f"{bucket_url(outputs)}/iam").json()["bindings"]


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
    assert [item.split()[0] for item in found] == ["bucket", "dataset"]
    api.send("PATCH", f"{api.storage}/b/{outputs['GCP_GCS_BUCKET']}", {"labels": {"taxiway-stack": None}})
    assert f"bucket {outputs['GCP_GCS_BUCKET']}" in engine().leftovers()
    other = {"name": f"stray-{stack}", "labels": {"taxiway-stack": stack}}
    api.send("POST", f"{api.storage}/b", other, project="taxiway-local")
    assert f"bucket stray-{stack}" in engine().leftovers()
    api.delete(f"{api.storage}/b/stray-{stack}")


def test_a_protected_stack_is_not_destroyed(engine):
    engine(PROTECTED).up()
    with pytest.raises(EngineError, match=r"Protected, so not removed: dataset .*, bucket ") as refused:
        engine(PROTECTED).destroy()
    assert "taxiway:ephemeral" in refused.value.remedy
    assert engine(PROTECTED).drift() == []


def test_a_protected_stack_goes_once_it_is_made_ephemeral(engine, emulators):
    load(emulators, engine(PROTECTED).up())
    teardown.destroy(engine())
    assert engine().leftovers() == []


def test_a_stack_is_what_its_settings_say(stack, endpoints, bucket_url, tmp_path):
    files = StackFiles(tmp_path / "stacks")

    def engine():
        return open_engine("in-process", stack, endpoints, tmp_path, files=files)

    files.write(stack, {"taxiway:location": "EU", **OWNER, "taxiway:credentials": "impersonation"})
    outputs = engine().up()
    assert requests.get(bucket_url(outputs)).json()["location"] == "EU"
    assert json.loads(outputs["google_credentials"])["type"] == "impersonated_service_account"
    teardown.destroy(engine())
    files.write(stack, {"taxiway:project": "acme-data"})
    with pytest.raises(EngineError, match="is a stack on Google Cloud"):
        engine()


def test_a_runner_is_recorded_and_goes_as_the_rest_does(engine, tmp_path):
    """No emulator enforces a machine: it is planned, priced and taken down, and none is started."""
    runner = {"taxiway:runner": "true"}
    assert "machine" in {change.title.split()[0] for change in engine(runner).preview()}
    engine(runner).up()
    assert engine(runner).preview() == engine(runner).drift() == []
    recorded = next(tmp_path.glob("*.json")).read_text()
    assert "secretData" not in recorded
    assert {"machine", "disk", "NAT", "secret"} <= {
        title.split()[0] for title in teardown.destroy(engine(runner))
    }
    assert not list(tmp_path.glob("*.json"))


def test_a_stack_with_a_key_needs_the_real_pulumi_and_nothing_of_it_is_made(engine, tmp_path):
    for attempt in (engine(KEY).preview, engine(KEY).up):
        with pytest.raises(EngineError, match="taxiway:credentials is key") as refused:
            attempt()
        assert "--engine cli" in refused.value.remedy
    assert list(tmp_path.glob("*.json")) == []
    assert engine(KEY).leftovers() == []


def test_a_protected_bucket_is_not_replaced(engine):
    engine(PROTECTED).up()
    with pytest.raises(EngineError, match="Protected"):
        engine({**PROTECTED, "taxiway:location": "EU"}).up()


def test_an_update_of_the_dataset_leaves_the_pipelines_right_to_it(engine, dataset_url):
    """The emulator resets the access list in a PUT that does not mention it, as BigQuery does."""
    outputs = engine().up()
    before = requests.get(dataset_url(outputs)).json()["access"]
    engine({"taxiway:datasetExpiryDays": "7"}).up()
    assert requests.get(dataset_url(outputs)).json()["access"] == before
    assert engine({"taxiway:datasetExpiryDays": "7"}).drift() == []


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


def test_the_state_is_private_and_holds_no_credential(engine, tmp_path):
    engine({**OWNER, "taxiway:credentials": "impersonation"}).up()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert all("accessToken" not in path.read_text() for path in files)


def test_a_state_of_another_version_is_read_and_taken_down(engine, stack, tmp_path):
    """One with a key, an encrypted output and fields that this version does not know."""
    engine().up()
    path = tmp_path / f"{stack}.json"
    state = json.loads(path.read_text())
    account = f"projects/taxiway-local/serviceAccounts/taxiway-{stack}@taxiway-local.iam.gserviceaccount.com"
    key = {"type": "gcp:serviceaccount/key:Key", "name": "pipelines-key"}
    key |= {
        "inputs": {"serviceAccountId": account},
        "known": {"privateKey": "gAAAA"},
        "retain_on_delete": False,
    }
    state["resources"] = [{**record, "known": {}} for record in state["resources"]] + [key]
    state["outputs"]["google_credentials"] = "gAAAA"
    state["colour"] = "green"
    path.write_text(json.dumps(state))
    assert [(change.action, change.title.split()[0]) for change in engine().preview()] == [("delete", "key")]
    assert engine().drift() == []
    assert any(title.startswith("key of") for title in teardown.destroy(engine()))
    assert engine().leftovers() == []


@pytest.mark.parametrize("answered", [False, True], ids=["before it is sent", "before its answer is noted"])
def test_an_up_interrupted_at_any_change_is_continued_or_taken_down(engine, faulty, answered):
    for number in range(100):
        interrupted, changes = faulty(number, failure=KeyboardInterrupt, answered=answered)
        try:
            interrupted.up()
        except KeyboardInterrupt:
            assert engine().exists()
            pending = [change for change in engine().preview() if change.action == "create"]
            assert pending
            half = [one for one in engine().drift() if "`up` was ended while it was made" in one.details[0]]
            assert len(half) == 1
            if number % 2:
                engine().up()
                assert engine().drift() == engine().preview() == []
            teardown.destroy(engine())
            assert engine().leftovers() == []
        else:
            break
    # Dataset, bucket and the grants on it.
    assert len(changes) == 4


def test_an_up_that_failed_half_way_is_continued(engine, faulty):
    failing, _ = faulty(2)
    with pytest.raises(EngineError, match="had enough"):
        failing.up()
    assert 1 <= [change.action for change in engine().preview()].count("create") <= 9
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


@pytest.mark.parametrize("answered", [False, True], ids=["before it is sent", "before its answer is noted"])
def test_a_teardown_interrupted_at_any_change_is_continued(engine, faulty, emulators, answered):
    for number in range(100):
        load(emulators, engine().up())
        interrupted, changes = faulty(number, failure=KeyboardInterrupt, answered=answered)
        try:
            teardown.destroy(interrupted)
        except KeyboardInterrupt:
            assert engine().exists()
            teardown.destroy(engine())
            assert engine().leftovers() == []
        else:
            break
    assert engine().leftovers() == []
    assert not engine().exists()
    # Two grants, an object, the bucket, the dataset.
    assert len(changes) == 5


def test_stacks_are_listed_with_owner_age_and_target(engine, tmp_path, stack):
    engine(OWNER).up()
    (found,) = [info for info in stacks(tmp_path).stacks if info.name == stack]
    assert (found.owner, found.target, found.resources, found.dollars) == (
        "alice@example.com",
        "emulators",
        10,
        0,
    )
    assert found.created <= found.updated


def test_an_emulator_that_is_gone_is_said_in_a_sentence(tmp_path):
    with pytest.raises(EngineError, match="got no answer"):
        InProcessEngine("lost", LOCAL_CONFIG, Endpoints(*[NOBODY] * 2), tmp_path).up()


def spawn(work, stack, endpoints, folder):
    """Run Python statements about `engine` in a process of their own."""
    program = (
        "from pathlib import Path; from taxiway.infrastructure import Endpoints, open_engine\n"
        f"endpoints = Endpoints(*{list(vars(endpoints).values())!r})\n"
        f"engine = open_engine('in-process', {stack!r}, endpoints, Path({str(folder)!r}))\n{work}"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
