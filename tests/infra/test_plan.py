"""What Pulumi's SDK is used for without Pulumi's engine: an upgrade that changes it fails here."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from taxiway.infrastructure import EngineError
from taxiway.infrastructure.plan import plan

SETTINGS = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com"}
BUCKET = """
import pulumi, pulumi_gcp as gcp
labels = {"managed-by": "pulumi", "taxiway-owner": "a", "taxiway-stack": "a"}
lake = gcp.storage.Bucket(
    "lake", name="acme-lake", location="US", labels=labels, uniform_bucket_level_access=True,
    public_access_prevention="enforced", force_destroy=True,
    lifecycle_rules=[{"action": {"type": "Delete"}, "condition": {"age": 60}}],
    opts=pulumi.ResourceOptions(protect=%s, retain_on_delete=%s),
)
"""


@pytest.fixture
def program(tmp_path):
    def write(text):
        (tmp_path / "__main__.py").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(("protect", "retain"), [(True, False), (False, True)])
def test_a_resource_is_seen_with_its_inputs_and_options(program, protect, retain):
    (bucket,) = plan("alice", {}, program(BUCKET % (protect, retain))).resources
    assert bucket.key == "gcp:storage/bucket:Bucket::lake"
    assert (bucket.protect, bucket.retain_on_delete) == (protect, retain)
    assert bucket.inputs["publicAccessPrevention"] == "enforced"
    age = bucket.inputs["lifecycleRules"][0]["condition"]["age"]
    assert (age, type(age)) == (60, int), "the wire format knows floating point alone"


def test_outputs_are_seen_with_what_follows_from_a_resource_and_which_are_secret(program):
    text = BUCKET % (False, False) + (
        "pulumi.export('url', lake.url)\n"
        "pulumi.export('count', 3)\n"
        "pulumi.export('token', pulumi.Output.secret('hidden'))\n"
    )
    found = plan("alice", {}, program(text))
    assert found.outputs == {"url": "gs://acme-lake", "count": 3, "token": "hidden"}
    assert found.secret == {"token"}
    assert "hidden" not in repr(found)


def test_components_are_no_resources_of_the_cloud(program):
    text = BUCKET % (False, False) + "pulumi.ComponentResource('taxiway:infra:Group', 'group')\n"
    assert [resource.name for resource in plan("alice", {}, program(text)).resources] == ["lake"]


def test_stack_and_settings_reach_the_program(program):
    text = (
        "import pulumi\n"
        "pulumi.export('stack', pulumi.get_stack())\n"
        "pulumi.export('location', pulumi.Config('taxiway').get('location'))\n"
        "pulumi.export('missing', pulumi.Config('taxiway').get('owner', 'nobody'))\n"
    )
    outputs = plan("alice", {"taxiway:location": "EU"}, program(text)).outputs
    assert outputs == {"stack": "alice", "location": "EU", "missing": "nobody"}


def test_a_program_that_breaks_a_rule_is_refused(program):
    text = (BUCKET % (False, False)).replace('"enforced"', '"inherited"')
    with pytest.raises(EngineError, match="public-access-prevented: lake The bucket can be made public"):
        plan("alice", {}, program(text))


def test_a_program_that_asks_google_is_refused_in_a_sentence(program):
    text = "import pulumi, pulumi_gcp as gcp\npulumi.export('p', gcp.organizations.get_project().name)\n"
    with pytest.raises(EngineError, match="The program calls gcp:organizations/getProject:getProject"):
        plan("alice", {}, program(text))


def test_a_wrong_setting_is_refused_in_a_sentence():
    with pytest.raises(EngineError, match="taxiway:location is 'mars', but must be US, EU or a region"):
        plan("alice", {**SETTINGS, "taxiway:location": "mars"})


def test_a_misspelt_setting_is_refused():
    with pytest.raises(EngineError, match=r"taxiway:ephemral is not a setting\."):
        plan("alice", {**SETTINGS, "taxiway:ephemral": "false"})


def test_plans_made_at_once_do_not_mix():
    def bucket(stack):
        return plan(stack, SETTINGS).outputs["GCP_GCS_BUCKET"]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(bucket, ["alice", "bob", "carol", "alice"]))
    assert found == [f"acme-data-taxiway-{name}" for name in ("alice", "bob", "carol", "alice")]
