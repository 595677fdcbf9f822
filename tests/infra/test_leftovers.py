"""Proof of teardown: what is left is found by name and by label, whatever is left."""

from dataclasses import dataclass, field

import pytest

from lakehouse.names import Names
from taxiway.infrastructure.api import Api
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.teardown import leftovers

PROJECT = "acme-data"
ALICE = Names.of(PROJECT, "alice")
OF_ALICE = {"labels": {"taxiway-stack": "alice"}}
OF_BOB = {"labels": {"taxiway-stack": "bob"}}
EMAIL, READER = (f"{name}@{PROJECT}.iam.gserviceaccount.com" for name in (ALICE.account, ALICE.reader))


@dataclass(frozen=True)
class Cloud(Api):
    """A cloud that holds what a test puts into it."""

    buckets: list = field(default_factory=list)
    soft_deleted: list = field(default_factory=list)
    datasets: list = field(default_factory=list)
    accounts: tuple[str, ...] = ()
    bindings: list = field(default_factory=list)
    environments: list = field(default_factory=list)
    of_runner: dict = field(default_factory=dict)

    def pages(self, url, items, **query):
        assert query.get("project", PROJECT) == PROJECT
        if (place := url.partition(f"{PROJECT}/")[2]) in self.of_runner:
            yield from self.of_runner[place]
            return
        if items == "environments":
            assert url.endswith(f"/projects/{PROJECT}/locations/us-central1/environments")
            yield from self.environments
            return
        if items == "datasets":
            yield from self.datasets
        else:
            yield from self.soft_deleted if query.get("softDeleted") == "true" else self.buckets

    def get(self, url, **query):
        place, _, email = url.rpartition("/")
        assert place.endswith(f"/projects/{PROJECT}/serviceAccounts")
        return {"email": email} if email in self.accounts else None

    def send(self, method, url, body=None, **query):
        assert url.endswith(f"/projects/{PROJECT}:getIamPolicy")
        return {"bindings": self.bindings}


def soft_deleted(name, **more):
    return {"name": name, "softDeleteTime": "2026-11-01", "hardDeleteTime": "2026-11-08", **more}


def granted(member):
    return [{"role": "roles/bigquery.jobUser", "members": ["user:bob@example.com", member]}]


LEFT = [
    ({"buckets": [{"name": ALICE.bucket}]}, f"bucket {ALICE.bucket}"),
    ({"buckets": [{"name": ALICE.dags_bucket}]}, f"bucket {ALICE.dags_bucket}"),
    ({"buckets": [{"name": "renamed", **OF_ALICE}]}, "bucket renamed"),
    (
        {"soft_deleted": [soft_deleted(ALICE.bucket)]},
        f"soft-deleted bucket {ALICE.bucket} with its objects, kept until 2026-11-08",
    ),
    (
        {"soft_deleted": [soft_deleted("renamed", **OF_ALICE)]},
        "soft-deleted bucket renamed with its objects, kept until 2026-11-08",
    ),
    ({"datasets": [{"datasetReference": {"datasetId": ALICE.dataset}}]}, f"dataset {ALICE.dataset}"),
    ({"datasets": [{"datasetReference": {"datasetId": "renamed"}, **OF_ALICE}]}, "dataset renamed"),
    ({"accounts": (EMAIL,)}, f"service account {EMAIL}"),
    ({"accounts": (READER,)}, f"service account {READER}"),
    (
        {"bindings": granted(f"deleted:serviceAccount:{READER}?uid=1")},
        f"roles/bigquery.jobUser on {PROJECT} for {READER}",
    ),
    (
        {"bindings": granted(f"serviceAccount:{EMAIL}")},
        f"roles/bigquery.jobUser on {PROJECT} for {EMAIL}",
    ),
    (
        {"bindings": granted(f"deleted:serviceAccount:{EMAIL}?uid=1")},
        f"roles/bigquery.jobUser on {PROJECT} for {EMAIL}",
    ),
]
OTHERS = {
    "buckets": [{"name": Names.of(PROJECT, "alice-2").bucket}, {"name": "renamed", **OF_BOB}],
    "soft_deleted": [soft_deleted(Names.of(PROJECT, "bob").bucket, **OF_BOB)],
    "datasets": [{"datasetReference": {"datasetId": "taxiway_bob"}, **OF_BOB}],
    "bindings": granted(f"serviceAccount:taxiway-bob@{PROJECT}.iam.gserviceaccount.com"),
}


ENVIRONMENTS = f"projects/{PROJECT}/locations/us-central1/environments"


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ([], []),
        ([{"name": f"{ENVIRONMENTS}/{ALICE.account}"}], [f"Composer environment {ALICE.account}"]),
        ([{"name": f"{ENVIRONMENTS}/renamed", **OF_ALICE}], ["Composer environment renamed"]),
        ([{"name": f"{ENVIRONMENTS}/taxiway-bob", **OF_BOB}], []),
    ],
)
def test_composer_is_asked_where_the_stack_had_one(there, left):
    cloud = Cloud(environments=there)
    assert leftovers(cloud, PROJECT, "alice", composer="us-central1") == left
    assert leftovers(cloud, PROJECT, "alice") == []


ZONE, REGION = "us-central1-b", "us-central1"
# What is listed at each URL below the project, and how its leftovers are called.
RUNNER = {
    f"zones/{ZONE}/instances": "machine",
    f"zones/{ZONE}/disks": "disk",
    "global/snapshots": "snapshot",
    f"regions/{REGION}/resourcePolicies": "snapshot schedule",
    f"regions/{REGION}/routers": "router",
    f"regions/{REGION}/subnetworks": "subnetwork",
    "global/firewalls": "firewall",
    "global/networks": "network",
    "secrets": "secret",
    f"locations/{REGION}/repositories": "image repository",
    "patchDeployments": "patches of",
}


@pytest.mark.parametrize("url", sorted(RUNNER))
@pytest.mark.parametrize(
    ("one", "left"),
    [
        ({"name": ALICE.account}, ALICE.account),
        (
            {"name": f"projects/1/x/{ALICE.part('data')}-us-central1-b-2026"},
            f"{ALICE.part('data')}-us-central1-b-2026",
        ),
        ({"name": "renamed", **OF_ALICE}, "renamed"),
        ({"name": "taxiway-alice-data"}, ""),
        ({"name": "taxiway-bob", **OF_BOB}, ""),
    ],
)
def test_of_a_runner_everything_is_asked_for_where_the_stack_had_one(url, one, left):
    cloud = Cloud(of_runner={**{key: [] for key in RUNNER}, url: [one]})
    assert leftovers(cloud, PROJECT, "alice", runner=ZONE) == ([f"{RUNNER[url]} {left}"] if left else [])
    assert leftovers(cloud, PROJECT, "alice") == []


def test_every_part_of_a_runner_that_could_be_left_is_asked_for():
    """But for what goes with its resource (grants, versions, the NAT) and the disk's link to its schedule."""
    config = {"taxiway:project": PROJECT, "taxiway:owner": "a@example.com", "taxiway:ephemeral": "false"}
    types = {one.type for one in plan("alice", {**config, "taxiway:runner": "true"}).resources}
    added = types - {one.type for one in plan("alice", config).resources}
    parts = {one.split(":")[-1] for one in added if "IamMember" not in one and "IAMMember" not in one}
    assert parts - {"SecretVersion", "RouterNat", "DiskResourcePolicyAttachment"} == {
        "Instance", "Disk", "ResourcePolicy", "Router", "Subnetwork", "Firewall", "Network", "Secret",
        "Repository", "PatchDeployment",
    }  # fmt: skip


@pytest.mark.parametrize(("there", "said"), LEFT)
def test_what_is_left_is_said(there, said):
    assert leftovers(Cloud(**there), PROJECT, "alice") == [said]


def test_what_belongs_to_others_is_not_ours():
    assert leftovers(Cloud(**OTHERS), PROJECT, "alice") == []


def test_an_api_that_does_not_know_soft_delete_and_lists_live_buckets_again_names_them_once():
    there = [{"name": ALICE.bucket}]
    assert leftovers(Cloud(buckets=there, soft_deleted=there), PROJECT, "alice") == [f"bucket {ALICE.bucket}"]


def test_without_a_control_plane_accounts_are_not_asked_for():
    """Then no account was created, only recorded."""
    there = {"buckets": [{"name": ALICE.bucket}], "accounts": (EMAIL,)}
    cloud = Cloud(iam="", resource_manager="", **there)
    assert leftovers(cloud, PROJECT, "alice") == [f"bucket {ALICE.bucket}"]
