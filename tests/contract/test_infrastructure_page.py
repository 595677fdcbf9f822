import re
import subprocess

import pytest
import yaml

from elt.orchestration.pools import POOLS
from taxiway.docgen.infrastructure import PARTS, STACK
from taxiway.docgen.markdown import current, named
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import LOCAL_CONFIG, Endpoints
from taxiway.infrastructure.plan import plan

TEXT = (REPOSITORY / "docs" / "infrastructure.md").read_text()
NAMED = set(re.findall(r"`((?:infra|scripts|tests|docs|dags|plugins)/[\w./-]*)[`\s]", TEXT))
MADE_BY_ITS_OWNER = {"infra/stacks/Pulumi.alice.yaml", "infra/stacks/Pulumi.local.yaml"}
# The settings that the page shows: a block of YAML with `settings` after its language.
SNIPPETS = re.findall(r"^```yaml settings([^\n]*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
EMULATORS = {**Endpoints("http://127.0.0.1:9023", "http://127.0.0.1:9050").config(), **LOCAL_CONFIG}


def test_every_table_is_on_the_page_once():
    assert sorted(named(TEXT)) == sorted(PARTS)


def test_a_table_that_is_behind_the_code_is_noticed():
    (part,) = re.findall(r"<!-- made rules -->.*?<!-- end -->", TEXT, re.DOTALL)
    behind = part.replace("No bucket can be made public", "Some buckets can be made public")
    assert current(behind, PARTS) == part != behind


def test_the_page_names_the_pulumi_that_the_project_requires():
    required = yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text())["requiredPulumiVersion"]
    assert f"Pulumi is {required.removeprefix('>=').removesuffix('.0')} or newer" in TEXT


@pytest.mark.parametrize("path", sorted(NAMED - MADE_BY_ITS_OWNER))
def test_what_the_page_names_exists(path):
    assert (REPOSITORY / path).exists()


@pytest.mark.parametrize(("where", "snippet"), SNIPPETS, ids=range(len(SNIPPETS)))
def test_settings_that_the_page_shows_make_a_stack_that_the_rules_allow(where, snippet):
    shown = yaml.safe_load(snippet)["config"]
    assert all(isinstance(value, str) for value in shown.values()), "Pulumi reads texts"
    declared = plan(STACK, {**(EMULATORS if where.strip() else {}), **shown})
    location = shown.get("taxiway:location", "US")
    assert declared.outputs["GCP_LOCATION"] == location
    protected = {resource.name for resource in declared.resources if resource.protect}
    assert ({"lake", "warehouse", "pipelines", "lake-pipelines"} <= protected) is bool(protected)
    assert bool(protected) is (shown.get("taxiway:ephemeral") == "false")


def test_the_page_shows_settings_for_google_cloud_and_for_emulators():
    assert {where.strip() for where, _ in SNIPPETS} == {"", "on emulators"}
    assert not re.findall(r"^```yaml$", TEXT, re.MULTILINE), "tag it, so that it is tried"


def test_the_way_by_hand_makes_a_stack():
    commands = TEXT.split("## What is created")[0]
    shown = dict(re.findall(r"^pulumi config set (taxiway:\w+) (\S+)$", commands, re.MULTILINE))
    assert set(shown) == {"taxiway:project", "taxiway:owner"}
    assert plan(STACK, shown).resources


def test_the_way_by_hand_is_complete_from_the_stack_to_the_containers():
    block = TEXT.split("## By hand")[1].split("```")[1].split("\n")
    commands = [" ".join(line.split()[:2]) for line in block if line]
    made, brought_up = (
        ["pulumi install", "pulumi stack", *["pulumi config"] * 2],
        ["pulumi up", "scripts/env"],
    )
    assert commands == [*made, *brought_up, "docker compose"]


# The role that whoever runs Pulumi needs for each type of resource.
NEEDED = {
    "gcp:storage/bucket:Bucket": "Storage Admin",
    "gcp:storage/bucketIAMMember:BucketIAMMember": "Storage Admin",
    "gcp:storage/bucketObject:BucketObject": "Storage Admin",
    "gcp:bigquery/dataset:Dataset": "BigQuery Admin",
    "gcp:serviceaccount/account:Account": "Service Account Admin",
    "gcp:serviceaccount/iAMMember:IAMMember": "Service Account Admin",
    "gcp:serviceaccount/key:Key": "Service Account Key Admin",
    "gcp:projects/iAMMember:IAMMember": "Project IAM Admin",
    "gcp:projects/service:Service": "Service Usage Admin",
    "gcp:billing/budget:Budget": "Billing Account Costs Manager",
    "gcp:composer/environment:Environment": "Composer Administrator",
    "gcp:artifactregistry/repository:Repository": "Artifact Registry Administrator",
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": "Artifact Registry Administrator",
    "gcp:secretmanager/secret:Secret": "Secret Manager Admin",
    "gcp:secretmanager/secretVersion:SecretVersion": "Secret Manager Admin",
    "gcp:secretmanager/secretIamMember:SecretIamMember": "Secret Manager Admin",
    "gcp:iap/tunnelInstanceIAMMember:TunnelInstanceIAMMember": "IAP Policy Admin",
    "gcp:osconfig/patchDeployment:PatchDeployment": "PatchDeployment Admin",
}
OWNED = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com"}
WITH = {
    "every stack": {},
    "`credentials: key`": {"credentials": "key"},
    "`budget`": {"budget": "9", "billingAccount": "012345-6789AB-CDEF01"},
    "`composer`": {"composer": "true"},
    "`runner`": {"runner": "true", "ephemeral": "false"},
    "`serviceAccount`": {"serviceAccount": "x@acme-data.iam.gserviceaccount.com"},
    "`kmsKey`": {"kmsKey": "projects/acme/locations/us/keyRings/data/cryptoKeys/lake"},
}


def test_the_roles_that_the_page_wants_are_those_that_the_program_needs():
    table = TEXT.partition("| for | role |")[2].partition("\n\n")[0]
    said = {row.split("|")[1].strip(): row.split("|")[2] for row in table.strip().split("\n")[1:]}
    assert said.keys() == WITH.keys()
    always = set(said["every stack"].strip().split(", "))
    for what, settings in WITH.items():
        config = {f"taxiway:{key}": value for key, value in settings.items()}
        types = {one.type for one in plan("alice", OWNED | config).resources}
        needed = {"Compute Admin" if ":compute/" in type_ else NEEDED[type_] for type_ in types}
        named = {
            role for role in ("Compute Admin", *NEEDED.values()) if re.search(rf"\b{role}\b", said[what])
        }
        assert needed <= always | named, what
        assert named <= needed, what
    # Whoever lets a machine or an environment act as an account has to be allowed to act as it.
    for what in ("`composer`", "`runner`"):
        assert "Service Account User (`iam.serviceAccounts.actAs`)" in said[what]


def test_the_command_that_lists_the_pools_lists_them():
    (command,) = re.findall(r"^(\.venv/bin/python .*) \|$", TEXT, re.MULTILINE)
    done = subprocess.run(
        command, shell=True, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    options = {True: ["--include-deferred"], False: []}
    assert [line.split() for line in done.stdout.splitlines()] == [
        [name, str(pool.slots), *options[pool.include_deferred]] for name, pool in POOLS.items()
    ]
