"""What becomes of a stack when one of its settings changes: in place, replaced, or refused."""

import contextvars
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest

from lakehouse.settings import KEYS
from taxiway.infrastructure import EngineError, StackNotRemovedError
from taxiway.infrastructure.plan import PROGRAM, _evaluate, _Monitor, changes, plan, refuse_losses

BASE = {"project": "acme-data", "owner": "alice@example.com"}
KMS = "projects/acme/locations/us/keyRings/data/cryptoKeys/lake"
POOL = "projects/123456789012/locations/global/workloadIdentityPools/ci/providers"
FEDERATED = {
    **BASE,
    "credentials": "workload-identity",
    "workloadIdentityProvider": f"{POOL}/github",
    "workloadIdentityPrincipal": "attribute.repository/acme/taxiway",
}
COMPOSER = {**BASE, "composer": "true"}
RUNNER = {**BASE, "runner": "true"}
RUNNER_APIS = {"artifactregistry", "compute", "iap", "osconfig", "oslogin", "secretmanager"}
RUNNERS = {"runner", "runner-owner", "runner-admin-password", "runner-fernet-key"}
BUDGET = {**BASE, "budget": "50", "billingAccount": "012345-6789AB-CDEF01"}
LIFE = "kept or deleted"
GRANT = {"replace": {"pipelines-owner", "reader-owner"}}
READER = {"reader", "reader-jobs", "reader-lake", "reader-owner"}
STORES = {"lake", "warehouse"}
# setting: (what the stack was, what is set, {action: resources in an ephemeral stack}).
CHANGES = {
    "project": (BASE, "other-data", {"replace": {*STORES, "lake-pipelines", "lake-reader", "pipelines",
                                                 "pipelines-jobs", "pipelines-owner", *READER}}),
    "location": (BASE, "EU", {"replace": STORES}),
    "ephemeral": (BASE, "false", {"update": LIFE}),
    "owner": (BASE, "bob@example.com", {**GRANT, "update": STORES}),
    "credentials": (BASE, "key", {"create": {"pipelines-key", "reader-key"},
                                  "delete": {"pipelines-owner", "reader-owner", "iamcredentials"}}),
    "workloadIdentityProvider": (FEDERATED, f"{POOL}/gitlab", {}),
    "workloadIdentityPrincipal": (FEDERATED, "subject/x",
                                  {"replace": {"pipelines-platform", "reader-platform"}}),
    "workloadIdentityTokenFile": (FEDERATED, "/run/token", {}),
    "serviceAccount": (BASE, "x@acme-data.iam.gserviceaccount.com",
                       {"delete": {"pipelines", *READER}, "update": {"warehouse"},
                        "replace": {"lake-pipelines", "lake-reader", "pipelines-jobs", "pipelines-owner"}}),
    "bucket": (BASE, "acme-other", {"replace": {"lake", "lake-pipelines", "lake-reader", "reader-lake"}}),
    "kmsKey": (BASE, KMS, {"create": {"cloudkms"}, "update": STORES}),
    "retentionDays": (BASE, "30", {}),
    "lifecycleDays": (BASE, "7", {"update": {"lake"}}),
    "datasetExpiryDays": (BASE, "7", {"update": {"warehouse"}}),
    "composer": (BASE, "true", {"create": {"composer", "composer-worker", "composer-files"}}),
    "composerImage": (COMPOSER, "composer-3-airflow-3.1", {"update": {"composer"}}),
    "runner": (BASE, "true", {"create": RUNNERS | RUNNER_APIS}),
    "runnerMachine": (RUNNER, "e2-standard-4", {"update": {"runner"}}),
    "budget": (BUDGET, "60", {"update": {"budget"}}),
    "billingAccount": (BUDGET, "AAAAAA-6789AB-CDEF01", {"replace": {"budget"}}),
    "storageEmulator": (BASE, "http://127.0.0.1:9", EngineError),
    "bigqueryEmulator": (BASE, "http://127.0.0.1:9", EngineError),
}  # fmt: skip


def planned(settings, **more):
    return _planned(tuple({**settings, **more}.items()))


@cache
def _planned(settings):
    return plan("alice", {f"taxiway:{key}": value for key, value in settings})


def records(settings, **more):
    return {resource.key: resource for resource in planned(settings, **more).resources}


def test_every_setting_has_its_change():
    assert set(CHANGES) == set(KEYS.values())


@pytest.mark.parametrize("key", sorted(CHANGES))
def test_a_changed_setting_is_taken_in_place_or_replaces_what_it_must(key):
    before, value, expected = CHANGES[key]
    if expected is EngineError:
        with pytest.raises(EngineError):
            planned(before, **{key: value})
        return
    known, wanted = records(before), planned(before, **{key: value})
    found = {}
    by_title = {one.title: one.name for one in [*wanted.resources, *known.values()]}
    for change in changes(known, wanted):
        name = by_title[change.title]
        if not name.startswith("composer/"):
            found.setdefault(change.action, set()).add(name)
        emptied = change.action == "replace" and name in STORES
        assert ("all data in it is deleted" in change.details) is emptied
    if key == "project":
        found["replace"] = {
            name for name in found["replace"] if "gcp:projects/service:Service::" + name not in known
        }
    if expected == {"update": LIFE}:
        assert {*STORES, "pipelines", "pipelines-jobs", "lake-pipelines", "lake-reader"} <= found.pop(
            "update"
        )
        expected = {}
    assert found == expected


@pytest.mark.parametrize("key", sorted(CHANGES.keys() - {"ephemeral", "storageEmulator", "bigqueryEmulator"}))
def test_a_protected_stack_takes_what_is_in_place_and_refuses_the_rest(key):
    before, value, expected = CHANGES[key]
    protected = {**before, "ephemeral": "false"}
    known, wanted = records(protected), planned(protected, **{key: value})
    # The API of a mode that was left is only forgotten: it stays enabled.
    lost = {name for action in ("replace", "delete") for name in expected.get(action, ())} - {
        "iamcredentials"
    }
    if lost:
        with pytest.raises(StackNotRemovedError, match="Protected, so not removed"):
            refuse_losses(known, wanted)
    else:
        refuse_losses(known, wanted)


class Noting(_Monitor):
    """Also notes what is deleted before it is made anew."""

    def __init__(self):
        super().__init__()
        self.first = {}

    def RegisterResource(self, request):  # noqa: N802 - the protocol's name for it
        self.first[request.name] = request.deleteBeforeReplace
        return super().RegisterResource(request)


@pytest.mark.parametrize("settings", [BASE, FEDERATED])
def test_what_keeps_its_name_or_grant_is_deleted_before_it_is_made_anew(settings):
    """The new one would be refused, or, if it is the same grant, go with the old one."""
    monitor, config = Noting(), {f"taxiway:{key}": value for key, value in settings.items()}
    with ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.Context().run, _evaluate, "alice", config, PROGRAM, monitor).result()
    replaced = {name for _, _, expected in CHANGES.values() if expected is not EngineError
                for name in expected.get("replace", ()) if name in monitor.first}  # fmt: skip
    # An account is replaced by one of another project, where its name is free.
    assert [name for name in sorted(replaced - {"pipelines", "reader"}) if not monitor.first[name]] == []
    assert {*STORES, "lake-pipelines", "lake-reader", "pipelines-jobs"} < replaced


def test_another_location_takes_the_runner_with_its_data_along():
    found = changes(records(RUNNER), planned(RUNNER, location="EU"))
    replaced = {change.title: change.details for change in found if change.action == "replace"}
    assert "all data in it is deleted" in replaced["disk taxiway-alice--data"]
    assert {title.split()[0] for title in replaced} >= {
        "machine",
        "disk",
        "NAT",
        "router",
        "subnetwork",
        "image",
    }
    # These are nowhere in particular.
    assert not any(title.startswith(("network", "firewall", "patches")) for title in replaced)


def test_an_owner_who_leaves_can_no_longer_come_in():
    found = changes(records(RUNNER), planned(RUNNER, owner="bob@example.com"))
    gone = {change.title for change in found if change.action == "replace"}
    for role in ("iap.tunnelResourceAccessor", "compute.osAdminLogin", "iam.serviceAccountUser"):
        assert any(title.startswith(f"roles/{role} on ") for title in gone)


def test_a_runners_secrets_are_made_once_and_kept_nowhere():
    versions = [one for one in planned(RUNNER).resources if one.type.endswith(":SecretVersion")]
    assert [sorted(one.inputs) for one in versions] == [["secret"], ["secret"]]
    again = plan("alice", {f"taxiway:{key}": value for key, value in RUNNER.items()})
    assert changes(records(RUNNER), again) == []


def test_a_runner_that_is_switched_off_goes_with_all_that_it_has():
    found = changes(records(RUNNER), planned(BASE))
    assert {change.action for change in found} == {"delete"}
    with pytest.raises(StackNotRemovedError, match="machine taxiway-alice"):
        refuse_losses(records({**RUNNER, "ephemeral": "false"}), planned(BASE, ephemeral="false"))


def test_a_stack_that_becomes_protected_does_not_lose_its_data_in_the_same_update():
    with pytest.raises(StackNotRemovedError, match=r"bucket acme-data-taxiway-alice"):
        refuse_losses(records(BASE), planned(BASE, ephemeral="false", location="EU"))
