"""The mandatory rules, and the policy pack that puts them before Pulumi's engine."""

import json
import os
import subprocess
import sys

import grpc
import pytest
import yaml
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from lakehouse.guardrails import (
    BUCKET,
    DATASET,
    DISK,
    ENVIRONMENT,
    FIREWALL,
    HMAC_KEY,
    IAP,
    IMAGES,
    INSTANCE,
    KEY,
    RULES,
    SECRET,
    SETTINGS,
    Resource,
    check,
)
from lakehouse.settings import KEYS
from taxiway.environment.home import REPOSITORY

PACK = REPOSITORY / "infra" / "policy"
LABELS = {"managed-by": "pulumi", "taxiway-owner": "alice", "taxiway-stack": "alice"}
GOOD_BUCKET = {
    "location": "US",
    "labels": LABELS,
    "publicAccessPrevention": "enforced",
    "uniformBucketLevelAccess": True,
    "deletionPolicy": "PREVENT",
    "forceDestroy": False,
}
GOOD_DATASET = {
    "location": "us",
    "labels": LABELS,
    "deletionPolicy": "PREVENT",
    "deleteContentsOnDestroy": False,
}
SHIELDED = {"enableSecureBoot": True, "enableVtpm": True, "enableIntegrityMonitoring": True}
PROTECTED = {"taxiway:ephemeral": "false"}
IAM = "gcp:projects/iAMMember:IAMMember"
ON_BUCKET = "gcp:storage/bucketIAMMember:BucketIAMMember"
ON_BUCKET_ALONE = "gcp:storage/bucketIAMBinding:BucketIAMBinding"


def bucket(**changes):
    return Resource(BUCKET, "lake", {**GOOD_BUCKET, **changes})


def dataset(**changes):
    return Resource(DATASET, "warehouse", {**GOOD_DATASET, **changes})


def machine(**changes):
    good = {
        "labels": LABELS,
        "deletionProtection": True,
        "networkInterfaces": [{"subnetwork": "s"}],
        "serviceAccount": {"email": "a@p.iam.gserviceaccount.com"},
        "shieldedInstanceConfig": SHIELDED,
        "metadata": {"enable-oslogin": "TRUE", "block-project-ssh-keys": "TRUE"},
    }
    return Resource(INSTANCE, "runner", {**good, **changes})


def firewall(**changes):
    good = {"direction": "INGRESS", "sourceRanges": [IAP], "allows": [{"protocol": "tcp"}]}
    return Resource(FIREWALL, "runner", {**good, **changes})


# At least one violating fixture for each rule: (rule, resources, settings).
VIOLATIONS = [
    ("public-access-prevented", [bucket(publicAccessPrevention="inherited")], {}),
    ("uniform-access", [bucket(uniformBucketLevelAccess=False)], {}),
    ("uniform-access", [Resource("gcp:storage/objectACL:ObjectACL", "open")], {}),
    (
        "no-public-access",
        [Resource(ON_BUCKET, "m", {"member": "allUsers"})],
        {},
    ),
    (
        "no-public-access",
        [Resource(ON_BUCKET_ALONE, "b", {"members": ["allAuthenticatedUsers"]})],
        {},
    ),
    ("no-public-access", [dataset(accesses=[{"specialGroup": "allAuthenticatedUsers"}])], {}),
    ("no-public-access", [dataset(accesses=[{"iamMember": "allUsers"}])], {}),
    (
        "no-public-access",
        [
            Resource(
                "gcp:storage/bucketIAMPolicy:BucketIAMPolicy",
                "p",
                {"policyData": '{"bindings": [{"role": "roles/viewer", "members": ["allUsers"]}]}'},
            )
        ],
        {},
    ),
    ("keyless", [Resource(KEY, "key")], {}),
    ("keyless", [Resource(HMAC_KEY, "key")], {}),
    ("keyless", [Resource(KEY, "key")], {"taxiway:credentials": "impersonation"}),
    ("labelled", [bucket(labels={})], {}),
    ("labelled", [dataset(labels={**LABELS, "taxiway-owner": ""})], {}),
    ("labelled", [Resource(ENVIRONMENT, "composer")], {}),
    ("labelled", [machine(labels={})], {}),
    ("labelled", [Resource(DISK, "disk")], {}),
    ("labelled", [Resource(SECRET, "secret")], {}),
    ("labelled", [Resource(IMAGES, "images")], {}),
    ("no-way-in", [machine(networkInterfaces=[{"accessConfigs": [{}]}])], {}),
    ("no-way-in", [machine(networkInterfaces=[{"ipv6AccessConfigs": [{}]}])], {}),
    ("no-way-in", [firewall(sourceRanges=["0.0.0.0/0"])], {}),
    ("no-way-in", [firewall(sourceRanges=[IAP, "10.0.0.0/8"])], {}),
    ("no-way-in", [firewall(sourceRanges=None, direction=None)], {}),
    ("hardened", [machine(shieldedInstanceConfig={**SHIELDED, "enableSecureBoot": False})], {}),
    ("hardened", [machine(shieldedInstanceConfig=None)], {}),
    ("hardened", [machine(metadata={"enable-oslogin": "TRUE"})], {}),
    ("hardened", [machine(metadata={"enable-oslogin": "FALSE", "block-project-ssh-keys": "TRUE"})], {}),
    ("hardened", [machine(serviceAccount=None)], {}),
    ("hardened", [machine(serviceAccount={"email": "1-compute@developer.gserviceaccount.com"})], {}),
    ("protected-unless-ephemeral", [machine(deletionProtection=False)], PROTECTED),
    ("no-project-data-roles", [Resource(IAM, "m", {"role": "roles/secretmanager.secretAccessor"})], {}),
    ("no-project-data-roles", [Resource(IAM, "m", {"role": "roles/artifactregistry.reader"})], {}),
    ("no-project-data-roles", [Resource(IAM, "m", {"role": "roles/bigquery.dataViewer"})], {}),
    ("no-project-data-roles", [Resource(IAM, "m", {"role": "roles/storage.objectViewer"})], {}),
    ("no-project-data-roles", [Resource(IAM, "m", {"role": "roles/editor"})], {}),
    ("no-project-data-roles", [Resource(IAM, "m", {"role": "roles/bigquery.filteredDataViewer"})], {}),
    ("no-project-data-roles", [Resource(IAM, "m", {"role": "roles/iam.serviceAccountTokenCreator"})], {}),
    (
        "no-project-data-roles",
        [Resource("gcp:organizations/iAMMember:IAMMember", "m", {"role": "roles/bigquery.dataViewer"})],
        {},
    ),
    ("no-project-data-roles", [Resource("gcp:folder/iAMPolicy:IAMPolicy", "all")], {}),
    ("no-project-data-roles", [Resource("gcp:projects/iAMPolicy:IAMPolicy", "all")], {}),
    ("protected-unless-ephemeral", [bucket(deletionPolicy="DELETE")], PROTECTED),
    ("protected-unless-ephemeral", [bucket(forceDestroy=True)], PROTECTED),
    ("protected-unless-ephemeral", [dataset(deleteContentsOnDestroy=True)], PROTECTED),
    ("one-location", [bucket(), dataset(location="EU")], {}),
    ("one-location", [bucket(), dataset()], {"taxiway:location": "EU"}),
]
FINE = [
    ([bucket(), dataset()], PROTECTED),
    ([bucket(forceDestroy=True, deletionPolicy="DELETE")], {}),
    ([machine(), firewall()], PROTECTED),
    ([machine(deletionProtection=False)], {}),
    ([firewall(direction="EGRESS", sourceRanges=None), firewall(allows=None, sourceRanges=None)], {}),
    ([Resource(KEY, "key")], {"taxiway:credentials": "key"}),
    ([Resource(IAM, "m", {"role": "roles/bigquery.jobUser", "member": "serviceAccount:a@b.c"})], {}),
    (
        [Resource(ON_BUCKET, "m", {"role": "roles/storage.objectAdmin"})],
        {},
    ),
]


@pytest.mark.parametrize(("rule", "resources", "config"), VIOLATIONS)
def test_a_rule_refuses_what_violates_it(rule, resources, config):
    assert {violation.rule for violation in check(resources, config)} == {rule}


@pytest.mark.parametrize(("resources", "config"), FINE)
def test_rules_let_good_resources_pass(resources, config):
    assert check(resources, config) == []


def test_every_rule_has_a_fixture_that_violates_it():
    assert {rule.name for rule in RULES} == {rule for rule, _, _ in VIOLATIONS}


def test_rules_ask_for_settings_that_there_are():
    assert set(SETTINGS) <= set(KEYS.values())


@pytest.fixture
def pack():
    """Start the policy pack as Pulumi's language host does, with a stack's settings, and connect to it."""
    processes = []

    def start(settings):
        variables = {**os.environ, "PULUMI_CONFIG": json.dumps(settings), "PULUMI_PROJECT": "taxiway"}
        variables |= {"PULUMI_STACK": "alice", "PULUMI_DRY_RUN": "true"}
        variables.pop("PYTHONPATH", None)
        command = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(PACK)]
        process = subprocess.Popen(command, cwd=PACK, env=variables, stdout=subprocess.PIPE)
        processes.append(process)
        port = process.stdout.readline().decode().strip()
        assert port.isdigit(), "the pack has to announce its port in its first line"
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        processes.append(channel)
        return analyzer_pb2_grpc.AnalyzerStub(channel)

    yield start
    for process, channel in zip(processes[::2], processes[1::2], strict=True):
        channel.close()
        process.kill()
        process.communicate(timeout=30)


def struct(properties):
    message = struct_pb2.Struct()
    message.update(properties)
    return message


def request(type_, **properties):
    return analyzer_pb2.AnalyzeRequest(type=type_, name="x", urn="urn:x", properties=struct(properties))


def broken(answer):
    return {diagnostic.policyName for diagnostic in answer.diagnostics}


def test_pulumi_learns_every_rule_and_that_it_is_mandatory(pack):
    info = pack({}).GetAnalyzerInfo(empty_pb2.Empty(), timeout=30)
    assert info.name == "taxiway"
    assert [policy.name for policy in info.policies] == [rule.name for rule in RULES]
    assert {policy.enforcementLevel for policy in info.policies} == {analyzer_pb2.MANDATORY}


def test_pulumi_learns_what_is_wrong_with_a_resource(pack):
    answer = pack({}).Analyze(request(ON_BUCKET, member="allUsers"), timeout=30)
    assert broken(answer) == {"no-public-access"}
    assert answer.diagnostics[0].enforcementLevel == analyzer_pb2.MANDATORY
    assert "allUsers is granted access" in answer.diagnostics[0].message


def test_the_settings_of_the_stack_decide(pack):
    """They are in the environment alone: the SDK does not hand on what ConfigureStack brings."""
    forced = request(BUCKET, **{**GOOD_BUCKET, "forceDestroy": True})
    protected = pack({**PROTECTED, "taxiway:credentials": "key"})
    assert broken(protected.Analyze(forced, timeout=30)) == {"protected-unless-ephemeral"}
    assert broken(protected.Analyze(request(KEY), timeout=30)) == set()
    ephemeral = pack({"taxiway:ephemeral": "true"})
    assert broken(ephemeral.Analyze(forced, timeout=30)) == set()
    assert broken(ephemeral.Analyze(request(KEY), timeout=30)) == {"keyless"}


def test_pulumi_learns_what_is_wrong_with_the_stack(pack):
    resources = [
        analyzer_pb2.AnalyzerResource(type=r.type, name=r.name, properties=struct(r.properties))
        for r in (bucket(), dataset(location="EU"))
    ]
    answer = pack({}).AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=resources), timeout=30)
    assert broken(answer) == {"one-location"}


def test_what_a_preview_cannot_know_yet_is_no_violation_and_no_warning(pack):
    """The account's address, for one, when the stack is new; the update asks again."""
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # the engine's text for a string that is not known yet
    answer = pack({}).Analyze(
        request(ON_BUCKET, member=unknown, role="roles/storage.objectAdmin"), timeout=30
    )
    assert list(answer.diagnostics) == []


def test_a_rule_changes_nothing(pack):
    answer = pack({}).Remediate(request(BUCKET, **{**GOOD_BUCKET, "forceDestroy": True}), timeout=30)
    assert list(answer.remediations) == []


def test_the_pack_runs_in_the_projects_own_environment():
    pack = yaml.safe_load((PACK / "PulumiPolicy.yaml").read_text())
    options = pack["runtime"]["options"]
    assert (PACK / options["virtualenv"]).resolve() == (REPOSITORY / ".venv").resolve()
    assert options["toolchain"] == "pip"
    # The engine prints this version, whatever the SDK says.
    assert pack["version"] == "1.0.0"
