"""What the engine does with Pulumi's automation interface: what it asks for, and in which order."""

import os
import subprocess
import sys

import pytest
from pulumi import automation
from pulumi.automation._cmd import CommandResult

from lakehouse.names import Names
from taxiway.infrastructure import EngineError, StackNotRemovedError, teardown
from taxiway.infrastructure.api import Api
from taxiway.infrastructure.cli import CliEngine, sentences, time_limit
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.stackfile import StackFiles

SETTINGS = "config:\n  taxiway:owner: a@example.com # mine\n  taxiway:project: acme-data\n"
ALICE = Names.of("acme-data", "alice")
BUCKET = {"name": ALICE.bucket, "labels": {"taxiway-stack": "alice"}}


class Cloud(Api):
    """Google's APIs over a project that holds what a test puts into it."""

    def __init__(self):
        super().__init__()
        # The base is frozen.
        self.__dict__ |= {"buckets": [], "asked": [], "policies": {}}

    def get(self, url, **query):
        if url.endswith("/iam"):
            return self.send("GET", url)
        return next((bucket for bucket in self.buckets if url.endswith(f"/b/{bucket['name']}")), None)

    def pages(self, url, items, **query):
        self.asked.append(url)
        if items == "items" and query.get("softDeleted") != "true":
            yield from self.buckets

    def send(self, method, url, body=None, **query):
        return {"bindings": next((b for end, b in self.policies.items() if url.endswith(end)), [])}


class Pulumi:
    """A backend with its stacks by name, each with the resources that its state lists."""

    url = "file:///somewhere"

    def __init__(self, files):
        self.files = files
        self.stacks = {}
        self.pending = []
        self.lock = ""
        self.events = []
        self.updates = 0

    def find(self, name):
        return Stack(self, name) if name in self.stacks else None

    def make(self, name):
        self.stacks[name] = []
        return Stack(self, name)

    def remove(self, name):
        del self.stacks[name]
        self.files.remove(name)


class Stack:
    """One stack of the backend, with what this engine uses of `automation.Stack`."""

    def __init__(self, pulumi, name):
        self.pulumi = pulumi
        self.name = name

    def preview(self, on_event, **_):
        assert self.name in self.pulumi.stacks
        for event in self.pulumi.events:
            on_event(automation.EngineEvent.from_json({"resourcePreEvent": {"metadata": event}}))

    def preview_refresh(self, on_event, show_secrets, **_):
        assert self.name in self.pulumi.stacks
        assert show_secrets is False
        for event in self.pulumi.events:
            on_event(automation.EngineEvent.from_json({"resOutputsEvent": {"metadata": event}}))

    def export_stack(self):
        deployment = {"resources": list(self.pulumi.stacks[self.name])}
        if self.pulumi.pending:
            deployment["pending_operations"] = list(self.pulumi.pending)
        return automation.Deployment(version=3, deployment=deployment)

    def import_stack(self, state):
        self.pulumi.stacks[self.name] = state.deployment["resources"]
        self.pulumi.pending = state.deployment.get("pending_operations", [])

    def refresh(self, **_):
        assert not self.pulumi.pending

    def outputs(self):
        return {}

    def up(self, **_):
        self.pulumi.updates += 1
        for resource in self.pulumi.stacks[self.name]:
            resource["protect"] = False

    def cancel(self):
        self.pulumi.lock = ""

    def destroy(self, **_):
        if self.pulumi.lock:
            raise automation.ConcurrentUpdateError(CommandResult("", self.pulumi.lock, 1))
        assert not any(resource.get("protect") for resource in self.pulumi.stacks[self.name])
        self.pulumi.stacks[self.name] = []


@pytest.fixture
def files(tmp_path):
    (tmp_path / "stacks").mkdir()
    return StackFiles(tmp_path / "stacks")


@pytest.fixture
def pulumi(files):
    return Pulumi(files)


@pytest.fixture
def cloud():
    return Cloud()


@pytest.fixture
def engine(pulumi, cloud, files, tmp_path):
    return lambda **changes: CliEngine(
        "alice", changes, None, tmp_path, files=files, pulumi=pulumi, api=cloud
    )


@pytest.fixture
def settings(files):
    def write(text=SETTINGS):
        files.path_of("alice").write_text(text)
        return files.path_of("alice")

    return write


def bucket(**options):
    inputs = {"name": ALICE.bucket, "project": "acme-data"}
    return {"type": "gcp:storage/bucket:Bucket", "urn": "urn::lake", "inputs": inputs, **options}


def everything(**settings):
    """The state of a stack that is up."""
    config = {"taxiway:project": "acme-data", "taxiway:owner": "a@example.com", **settings}
    return [
        {"type": one.type, "urn": f"urn::{one.name}", "inputs": dict(one.inputs), "protect": one.protect}
        for one in plan("alice", config).resources
    ]


def test_a_preview_makes_no_stack_and_keeps_the_settings(engine, pulumi, settings):
    path = settings()
    assert engine(**{"taxiway:location": "EU"}).preview() == []
    assert pulumi.stacks == {}
    assert path.read_text() == SETTINGS
    pulumi.stacks["alice"] = [bucket()]
    engine(**{"taxiway:location": "EU"}).preview()
    assert pulumi.stacks == {"alice": [bucket()]}
    assert path.read_text() == SETTINGS


def test_a_preview_with_a_wrong_setting_makes_none_either(engine, pulumi, settings):
    path = settings()
    with pytest.raises(EngineError, match="taxiway:location is 'mars', but must be"):
        engine(**{"taxiway:location": "mars"}).preview()
    assert pulumi.stacks == {}
    assert path.read_text() == SETTINGS


def test_a_stack_and_its_settings_go_once_nothing_is_left(engine, pulumi, cloud, settings):
    path = settings()
    pulumi.stacks["alice"] = [bucket()]
    cloud.buckets.append(BUCKET)
    for _ in range(2):
        with pytest.raises(StackNotRemovedError, match=f"left something behind: bucket {ALICE.bucket}"):
            teardown.destroy(engine())
        assert pulumi.stacks == {"alice": []}
        assert path.exists()
    cloud.buckets.clear()
    teardown.destroy(engine())
    assert pulumi.stacks == {}
    assert not path.exists()
    assert teardown.destroy(engine()) == []


def test_a_protected_stack_is_neither_destroyed_nor_forgotten(engine, pulumi, settings):
    settings(f"{SETTINGS}  taxiway:ephemeral: false\n")
    pulumi.stacks["alice"] = [bucket()]
    for end in (engine().destroy, engine().forget):
        with pytest.raises(StackNotRemovedError, match="is protected, so nothing of it is removed"):
            end()
    assert pulumi.stacks == {"alice": [bucket()]}


def test_what_is_removed_is_named_in_the_order_of_its_removal(engine, pulumi, settings):
    settings()
    grant = {"role": "roles/x", "bucket": "b/acme", "member": "user:a@example.com"}
    member = {"type": "gcp:storage/bucketIAMMember:BucketIAMMember", "urn": "urn::member", "inputs": grant}
    service = {"type": "gcp:projects/service:Service", "urn": "urn::iam", "inputs": {"service": "iam"}}
    service["retainOnDelete"] = True
    pulumi.stacks["alice"] = [service, bucket(), member]
    assert engine().destroy() == ["roles/x on b/acme for user:a@example.com", f"bucket {ALICE.bucket}"]


def test_a_stack_that_was_protected_is_updated_before_it_goes(engine, pulumi, settings):
    settings()
    pulumi.stacks["alice"] = [bucket(protect=True)]
    assert engine().destroy() == [f"bucket {ALICE.bucket}"]


@pytest.mark.parametrize("made", [True, False])
def test_a_resource_that_a_killed_pulumi_was_creating_is_taken_in_or_forgotten(
    engine, pulumi, cloud, settings, made
):
    settings()
    pulumi.stacks["alice"] = []
    pulumi.pending = [{"type": "creating", "resource": bucket()}]
    if made:
        cloud.buckets.append(BUCKET)
    assert engine().destroy() == ([f"bucket {ALICE.bucket}"] if made else [])


def test_the_lock_of_a_process_that_is_gone_is_cleared(engine, pulumi, settings):
    settings()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(30)
    pulumi.stacks["alice"] = [bucket()]
    pulumi.lock = f"created by alice@{os.uname().nodename} (pid {gone.pid}) at 2026-11-22T11:49:07Z"
    assert engine().destroy() == [f"bucket {ALICE.bucket}"]


def test_a_locked_stack_still_exists_and_the_command_that_unlocks_it_is_printed(engine, pulumi, settings):
    settings()
    pulumi.stacks["alice"] = [bucket()]
    pulumi.lock = "created by bob@elsewhere (pid 1) at 2026-11-22T11:49:07Z"
    with pytest.raises(StackNotRemovedError, match="Stack alice is locked by another update") as refused:
        teardown.destroy(engine())
    assert refused.value.remedy.endswith(f"PULUMI_BACKEND_URL={Pulumi.url} pulumi cancel --yes --stack alice")
    assert pulumi.stacks == {"alice": [bucket()]}


@pytest.mark.parametrize(
    ("location", "near"), [("US", "us-central1"), ("eu", "europe-west1"), ("Europe-West4", "europe-west4")]
)
def test_composer_is_looked_for_where_it_would_run(engine, cloud, location, near):
    settings = {"gcp:project": "acme-data", "taxiway:location": location, "taxiway:composer": "true"}
    assert engine(**settings).leftovers() == []
    assert f"{cloud.composer}/projects/acme-data/locations/{near}/environments" in cloud.asked


UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # the engine's text for what it does not know yet
JOBS = "gcp:projects/iAMMember:IAMMember"


def event(op, type_, name, new=None, old=None, **more):
    states = {side: {"type": type_, "urn": "", "id": "", "parent": "", "provider": "", "inputs": inputs}
              for side, inputs in (("new", new), ("old", old)) if inputs}  # fmt: skip
    urn = f"urn:pulumi:alice::taxiway::{type_}::{name}"
    return {"op": op, "urn": urn, "type": type_, "provider": "", **states, **more}


def test_a_preview_names_what_is_new_as_it_will_be_called(engine, pulumi, settings):
    """Pulumi's own preview does not know the address of an account that is new; the program's plan does."""
    settings()
    role = {"role": "roles/bigquery.jobUser", "project": "acme-data", "member": UNKNOWN}
    pulumi.events = [
        event("create", "pulumi:pulumi:Stack", "taxiway-alice"),
        event("create", "taxiway:infra:Lake", "lake"),
        event("same", "gcp:projects/service:Service", "iam"),
        event("create", JOBS, "pipelines-jobs", new=role),
    ]
    (change,) = engine().preview()
    email = "taxiway-alice@acme-data.iam.gserviceaccount.com"
    assert change.action == "create"
    assert change.title == f"roles/bigquery.jobUser on acme-data for serviceAccount:{email}"


def test_a_preview_names_the_properties_that_change(engine, pulumi, settings):
    settings()
    inputs = {"name": ALICE.bucket}
    diff = {path: {"diffKind": "update", "inputDiff": True} for path in ("labels.owner", "effectiveLabels.x")}
    pulumi.events = [
        event("update", "gcp:storage/bucket:Bucket", "lake", inputs, inputs, detailedDiff=diff),
        event("delete", "gcp:serviceaccount/key:Key", "key", old={"serviceAccountId": "projects/p/s/a"}),
        event("delete", "gcp:composer/environment:Environment", "composer", old={"name": "x"}),
    ]
    found = [(change.action, change.title, change.details) for change in engine().preview()]
    assert found == [
        ("update", f"bucket {ALICE.bucket}", ("labels.owner",)),
        ("delete", "key of projects/p/s/a", ()),
        ("delete", "Composer x", ()),
    ]


def test_drift_names_what_a_refresh_would_find_changed_or_gone(engine, pulumi, settings):
    settings()
    pulumi.stacks["alice"] = everything()
    old, new = {"name": ALICE.bucket, "location": "US"}, {"name": ALICE.bucket, "location": "EU"}
    pulumi.events = [
        event("update", "gcp:storage/bucket:Bucket", "lake", new, old, diffs=["location"]),
        event("delete", "gcp:bigquery/dataset:Dataset", "warehouse", old={"datasetId": "taxiway_alice"}),
        event("refresh", JOBS, "pipelines-jobs", old=old),
        event("update", "pulumi:providers:gcp", "default", old, old),
        event("update", "taxiway:infra:Lake", "lake", old, old),
    ]
    found = [(drift.title, drift.details) for drift in engine().drift()]
    assert found == [(f"bucket {ALICE.bucket}", ("location",)), ("dataset taxiway_alice", ("it is gone",))]


def test_drift_names_whom_others_let_in(engine, pulumi, cloud, settings):
    """Pulumi's refresh sees the grants that it made, and no other."""
    settings()
    pulumi.stacks["alice"] = everything()
    inputs = {one["urn"].split("::")[1]: one["inputs"] for one in pulumi.stacks["alice"]}
    ours, jobs = inputs["lake-pipelines"], inputs["pipelines-jobs"]
    cloud.policies = {
        f"/b/{ALICE.bucket}/iam": [
            {"role": ours["role"], "members": [ours["member"], "projectOwner:acme-data"]},
            {"role": "roles/storage.legacyBucketReader", "members": [ours["member"]]},
            {"role": "roles/storage.objectViewer", "members": ["allUsers"]},
        ],
        "/projects/acme-data:getIamPolicy": [
            {"role": jobs["role"], "members": [jobs["member"], "user:bob@example.com"]},
            {"role": "roles/editor", "members": [jobs["member"]]},
        ],
    }
    old = {"datasetId": "taxiway_alice", "accesses": [{"role": "OWNER", "specialGroup": "projectOwners"}]}
    new = {**old, "accesses": [*old["accesses"], {"role": "READER", "specialGroup": "allAuthenticatedUsers"}]}
    diff = {"accesses[1]": {"diffKind": "add", "inputDiff": False}}
    pulumi.events = [
        event("update", "gcp:bigquery/dataset:Dataset", "warehouse", new, old, detailedDiff=diff)
    ]
    found = {drift.title: drift.details for drift in engine().drift()}
    assert found.pop("dataset taxiway_alice") == ('access.allAuthenticatedUsers: null -> "READER"',)
    theirs = ("granted by somebody else",)
    assert found == {
        f"roles/storage.objectViewer on bucket {ALICE.bucket} for allUsers": theirs,
        f"roles/editor on acme-data for {jobs['member']}": theirs,
    }


def test_drift_names_what_was_half_done(engine, pulumi, settings):
    """A bucket that was being made when `pulumi` was killed, and a grant that a refused destroy took away."""
    settings()
    pulumi.stacks["alice"] = [one for one in everything() if one["urn"] != "urn::lake-pipelines"]
    pulumi.pending = [{"type": "creating", "resource": bucket()}]
    started, missing = engine().drift()
    assert (started.title, started.details[0][:30]) == (
        f"bucket {ALICE.bucket}",
        "an update was ended while crea",
    )
    assert missing.title.startswith(f"roles/storage.objectAdmin on b/{ALICE.bucket} for serviceAccount:")
    assert missing.details == ("declared, but not there: scripts/up makes it",)


@pytest.mark.parametrize("change", [{"taxiway:location": "EU"}, {"taxiway:owner": "b@example.com"}])
def test_what_a_protected_stack_would_lose_is_refused_before_anything_is_touched(
    engine, pulumi, settings, change
):
    settings(f"{SETTINGS}  taxiway:ephemeral: false\n")
    pulumi.stacks["alice"] = everything(**{"taxiway:ephemeral": "false"})
    with pytest.raises(StackNotRemovedError, match="Protected, so not removed: "):
        engine(**change).up()
    assert pulumi.updates == 0


def test_an_ephemeral_stack_may_move(engine, pulumi, settings):
    settings()
    pulumi.stacks["alice"] = everything()
    engine(**{"taxiway:location": "EU"}).up()
    assert pulumi.updates == 1


def test_the_grant_of_an_earlier_release_is_forgotten_and_not_deleted(engine, pulumi, settings):
    """Pulumi would delete it after the update of the dataset, and the new access entry with it."""
    settings()
    member = {"type": "gcp:bigquery/datasetIamMember:DatasetIamMember", "urn": "urn::warehouse-pipelines"}
    pulumi.stacks["alice"] = [*everything(), member]
    engine().up()
    assert member not in pulumi.stacks["alice"]
    assert len(pulumi.stacks["alice"]) == len(everything())


def test_what_pulumi_prints_becomes_its_errors_each_once():
    output = (
        " code: 255\n stdout: Updating (alice):\n error: taxiway:owner is not set\n"
        " stderr: error: taxiway:owner is not set\nerror: update failed\n  error: preview failed  \n"
    )
    assert sentences(output) == ("taxiway:owner is not set\npreview failed", "")
    assert sentences("code: 1\nnothing more")[0] == "code: 1\nnothing more"


@pytest.mark.parametrize(
    "constraint", ["iam.disableServiceAccountKeyCreation", "iam.managed.disableServiceAccountKeyCreation"]
)
def test_an_organization_that_forbids_keys_is_said_with_what_to_do(constraint):
    sentence, remedy = sentences(f"error: 1 error: Constraint constraints/{constraint}")
    assert sentence == "The organization forbids service-account keys."
    assert "pulumi config set taxiway:credentials impersonation" in remedy


def test_missing_credentials_are_said_with_what_brings_them():
    sentence, remedy = sentences("error: rpc error: desc = failed to load application credentials.\n")
    assert "no credentials of yours" in sentence
    assert "gcloud auth application-default login" in remedy


def test_a_wrong_passphrase_is_said_with_where_the_right_one_belongs():
    sentence, remedy = sentences(
        " code: 255\n stderr: error: getting secrets manager: passphrase: incorrect passphrase\n"
    )
    assert sentence == "The passphrase is not the one that the stack was made with."
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" in remedy


def test_a_pulumi_that_hangs_is_interrupted(tmp_path):
    program = tmp_path / "pulumi"
    program.write_text("#!/bin/sh\ntrap 'kill $!; echo interrupted; exit 130' INT\nsleep 60 &\nwait\n")
    program.chmod(0o755)
    with time_limit(0.2):
        done = subprocess.run([program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (130, "interrupted\n")


def test_a_pulumi_that_ends_in_time_is_left_alone():
    with time_limit(60):
        done = subprocess.run(["true"], timeout=50)
    assert done.returncode == 0
