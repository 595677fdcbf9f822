import sys
import threading
from pathlib import Path

import grpc
import pytest
import yaml
from google.protobuf import empty_pb2, struct_pb2
from policy.analyzer import Analyzer, serve
from policy.guardrails import BUCKET, DATASET, ENVIRONMENT, HMAC_KEY, KEY, RULES, Resource, check
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import EngineError
from taxiway.infrastructure.plan import plan

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
PROTECTED = {"taxiway:ephemeral": "false"}
IAM = "gcp:projects/iAMMember:IAMMember"
ON_BUCKET = "gcp:storage/bucketIAMMember:BucketIAMMember"
ON_BUCKET_ALONE = "gcp:storage/bucketIAMBinding:BucketIAMBinding"


def bucket(**changes):
    return Resource(BUCKET, "lake", {**GOOD_BUCKET, **changes})


def dataset(**changes):
    return Resource(DATASET, "warehouse", {**GOOD_DATASET, **changes})


# At least one violating fixture for each rule: (rule, resources, settings).
VIOLATIONS = [
    ("public-access-prevented", [bucket(publicAccessPrevention="inherited")], {}),
    ("uniform-access", [bucket(uniformBucketLevelAccess=False)], {}),
    ("uniform-access", [Resource("gcp:storage/objectACL:ObjectACL", "open")], {}),
    (
        "nobody-is-everybody",
        [Resource(ON_BUCKET, "m", {"member": "allUsers"})],
        {},
    ),
    (
        "nobody-is-everybody",
        [Resource(ON_BUCKET_ALONE, "b", {"members": ["allAuthenticatedUsers"]})],
        {},
    ),
    ("nobody-is-everybody", [dataset(accesses=[{"specialGroup": "allAuthenticatedUsers"}])], {}),
    ("nobody-is-everybody", [dataset(accesses=[{"iamMember": "allUsers"}])], {}),
    (
        "nobody-is-everybody",
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


def test_a_program_that_breaks_a_rule_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr("lakehouse.identity.JOB_ROLE", "roles/bigquery.dataEditor")
    with pytest.raises(EngineError, match=r"no-project-data-roles: pipelines-jobs roles/bigquery\.data"):
        plan("alice", {"taxiway:project": "acme-data", "taxiway:owner": "a@example.com"})


@pytest.fixture
def stub():
    """A connection to the policy pack as Pulumi has it."""
    ports = []
    announced = threading.Event()
    thread = threading.Thread(target=serve, args=[lambda port: (ports.append(port), announced.set())])
    thread.start()
    announced.wait(10)
    with grpc.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
        stub = analyzer_pb2_grpc.AnalyzerStub(channel)
        yield stub
        stub.Cancel(empty_pb2.Empty(), timeout=10)
    thread.join(10)
    assert not thread.is_alive()


def struct(properties):
    message = struct_pb2.Struct()
    message.update(properties)
    return message


def test_pulumi_is_told_every_rule_and_that_it_is_mandatory(stub):
    stub.Handshake(analyzer_pb2.AnalyzerHandshakeRequest())
    info = stub.GetAnalyzerInfo(empty_pb2.Empty(), timeout=10)
    assert [policy.name for policy in info.policies] == [rule.name for rule in RULES]
    assert {policy.enforcementLevel for policy in info.policies} == {analyzer_pb2.MANDATORY}


def test_pulumi_is_told_what_is_wrong_with_a_resource(stub):
    stub.ConfigureStack(analyzer_pb2.AnalyzerStackConfigureRequest(config=PROTECTED))
    request = analyzer_pb2.AnalyzeRequest(
        type=BUCKET, name="lake", urn="urn:lake", properties=struct({**GOOD_BUCKET, "forceDestroy": True})
    )
    answer = stub.Analyze(request, timeout=10)
    assert [(d.policyName, d.urn) for d in answer.diagnostics] == [("protected-unless-ephemeral", "urn:lake")]
    assert answer.diagnostics[0].enforcementLevel == analyzer_pb2.MANDATORY


def test_pulumi_is_told_what_is_wrong_with_the_stack(stub):
    resources = [
        analyzer_pb2.AnalyzerResource(type=r.type, name=r.name, properties=struct(r.properties))
        for r in (bucket(), dataset(location="EU"))
    ]
    answer = stub.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=resources), timeout=10)
    assert [diagnostic.policyName for diagnostic in answer.diagnostics] == ["one-location"]


def test_a_rule_changes_nothing_and_cannot_be_turned_off():
    analyzer = Analyzer()
    assert not analyzer.Remediate(None, None).remediations
    assert not analyzer.GetAnalyzerInfo(None, None).supportsConfig


def test_the_pack_runs_in_the_projects_own_environment():
    pack = yaml.safe_load((REPOSITORY / "infra" / "policy" / "PulumiPolicy.yaml").read_text())
    options = pack["runtime"]["options"]
    virtualenv = REPOSITORY / "infra" / "policy" / options["virtualenv"]
    assert virtualenv.resolve() == (REPOSITORY / ".venv").resolve()
    assert options["toolchain"] == "pip"
    assert Path(sys.prefix).exists()
