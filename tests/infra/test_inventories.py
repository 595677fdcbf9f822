import ast
import os
import subprocess
import sys
from functools import cache

import pytest
import yaml

from lakehouse.composer import uploads
from taxiway.docgen.infrastructure import inventory
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import EngineError
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.resources import roles_by_member

FOLDER = REPOSITORY / "tests" / "infra" / "inventories"
SCENARIOS = {
    "anonymous",
    "budget",
    "composer",
    "ephemeral",
    "key",
    "protected",
    "runner",
    "workload-identity",
}
UPLOAD = "gcp:storage/bucketObject:BucketObject"


@cache
def read(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


@cache
def declared_by(name):
    return plan("alice", read(name)["config"])


@cache
def found(name):
    return inventory(read(name)["config"])


def test_every_scenario_has_its_inventory():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == SCENARIOS


@pytest.mark.parametrize("part", ["counts", "resources", "outputs"])
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_program_declares_what_its_inventory_says(name, part):
    content = read(name)
    assert found(name)[part] == content[part], (
        f"{name} is different now. If that is meant, call scripts/docs and review the difference"
    )


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_program_declares_nothing_that_is_ruled_out(name):
    content = read(name)
    declared = {resource.type for resource in declared_by(name).resources}
    assert content["absent"]
    assert declared.isdisjoint(content["absent"])


@pytest.mark.parametrize("name", sorted(SCENARIOS - {"composer", "runner"}))
def test_the_pipelines_have_rights_to_their_data_alone(name):
    """On the one bucket, on the one dataset, and to run jobs."""
    assert granted(name, "serviceAccount:taxiway-alice@") == {
        ("lake-pipelines", "roles/storage.objectAdmin"),
        ("lake-reader", "roles/storage.legacyBucketReader"),
        ("pipelines-jobs", "roles/bigquery.jobUser"),
    }
    (account,) = [member for member, role in accesses(name).items() if role == "WRITER"]
    assert account.startswith("taxiway-alice@")


@pytest.mark.parametrize("name", sorted(SCENARIOS - {"anonymous"}))
def test_the_reader_may_read_the_data_and_nothing_else(name):
    """On the one bucket, on the one dataset, and to run jobs: as the pipelines, but for writing."""
    assert granted(name, "serviceAccount:taxiway-alice--reader@") == {
        ("reader-lake", "roles/storage.objectViewer"),
        ("reader-jobs", "roles/bigquery.jobUser"),
    }
    (account,) = [member for member, role in accesses(name).items() if role == "READER"]
    assert account.startswith("taxiway-alice--reader@")


@pytest.mark.parametrize("name", ["anonymous", "an account that exists"])
def test_there_is_no_reader_where_nobody_could_act_as_it_or_no_account_may_be_made(name):
    there = {"taxiway:serviceAccount": "pipelines@acme-data.iam.gserviceaccount.com"}
    config = read("anonymous")["config"] if name == "anonymous" else read("ephemeral")["config"] | there
    made = plan("alice", config)
    assert not [one.key for one in made.resources if "--reader" in str(one.inputs)]
    assert "google_reader_credentials" not in made.outputs


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_an_update_of_the_dataset_carries_its_whole_access_list(name):
    """BigQuery's PUT resets a list that it does not mention: nothing may be granted beside it."""
    owner = read(name)["config"].get("taxiway:owner")
    owners = {member for member, role in accesses(name).items() if role == "OWNER"}
    assert owners == {"projectOwners", *([owner] if owner else [])}
    types = {resource.type for resource in declared_by(name).resources}
    assert not any(type_.startswith("gcp:bigquery/datasetIam") for type_ in types)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_everything_of_a_protected_stack_is_protected(name):
    """But the APIs, which stay enabled anyhow, and the files of DAGs and the snapshots' schedule: no data."""
    config = {**read(name)["config"], "taxiway:ephemeral": "false"}
    guarded = {one.key: one.protect for one in plan("alice", config).resources if one.type != UPLOAD}
    bare = {key for key, protect in guarded.items() if not protect}
    assert all("projects/service:" in key or "esourcePolicy" in key for key in bare)
    assert len(guarded) - len(bare) >= 5
    assert not any(resource.protect for resource in plan("alice", read("ephemeral")["config"]).resources)


def test_composer_adds_a_workers_right_and_its_own_bucket():
    found = granted("composer", "serviceAccount:taxiway-alice@")
    assert found - granted("ephemeral", "serviceAccount:taxiway-alice@") == {
        ("composer-worker", "roles/composer.worker"),
        ("composer-files", "roles/storage.objectAdmin"),
    }


def test_the_runner_lets_the_pipelines_read_their_secrets_and_images_and_nothing_else():
    found = granted("runner", "serviceAccount:taxiway-alice@")
    assert found - granted("ephemeral", "serviceAccount:taxiway-alice@") == {
        ("runner-admin-password", "roles/secretmanager.secretAccessor"),
        ("runner-fernet-key", "roles/secretmanager.secretAccessor"),
        ("runner", "roles/artifactregistry.reader"),
    }


def test_the_runner_has_no_key_no_public_address_and_one_way_in():
    declared = {resource.type.split(":")[-1]: resource.inputs for resource in declared_by("runner").resources}
    machine, firewall = declared["Instance"], declared["Firewall"]
    assert machine["serviceAccount"]["email"] == "taxiway-alice@acme-data.iam.gserviceaccount.com"
    assert [sorted(interface) for interface in machine["networkInterfaces"]] == [["subnetwork"]]
    assert (firewall["sourceRanges"], firewall["allows"]) == (
        ["35.235.240.0/20"],
        [{"protocol": "tcp", "ports": ["22"]}],
    )
    assert declared["Subnetwork"]["privateIpGoogleAccess"]
    assert machine["scheduling"]["automaticRestart"]
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in machine["metadata"]["taxiway-environment"]


def test_an_ephemeral_runner_makes_no_snapshots_which_would_outlive_it():
    config = read("runner")["config"]
    kept = {one.type for one in plan("alice", {**config, "taxiway:ephemeral": "true"}).resources}
    gone = {resource.type.split(":")[-1] for resource in declared_by("runner").resources} - {
        type_.split(":")[-1] for type_ in kept
    }
    assert gone == {"ResourcePolicy", "DiskResourcePolicyAttachment"}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_nobody_but_the_accounts_gets_more_than_to_act_as_them(name):
    others = granted(name, "") - granted(name, "serviceAccount:taxiway-alice")
    # The owner of a runner comes in by IAP and is root there, on that machine alone.
    on_the_machine = {
        ("runner-owner", "roles/iap.tunnelResourceAccessor"),
        ("runner-owner", "roles/compute.osAdminLogin"),
        ("runner-owner", "roles/iam.serviceAccountUser"),
    }
    assert (others & on_the_machine) == (on_the_machine if name == "runner" else set())
    assert {role for _, role in others - on_the_machine} <= {
        "roles/iam.serviceAccountTokenCreator",
        "roles/iam.workloadIdentityUser",
    }


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_bucket_and_dataset_are_in_one_place(name):
    resources = declared_by(name).resources
    stores = [resource for resource in resources if resource.type.endswith((":Bucket", ":Dataset"))]
    places = [resource.inputs["location"].upper() for resource in stores]
    assert len(places) >= 2
    assert len(set(places)) == 1


def test_keys_are_the_only_secret_outputs():
    secrets = {name: set(declared_by(name).secret) for name in SCENARIOS}
    assert secrets.pop("key") == {"google_credentials", "google_reader_credentials"}
    assert set().union(*secrets.values()) == set()


def test_composer_gets_dags_and_library_where_all_its_components_look():
    """Its own Airflow copies `plugins/` neither to the scheduler nor to the triggerer."""
    uploaded = {r.inputs["name"] for r in declared_by("composer").resources if r.type == UPLOAD}
    files = [path for path in (REPOSITORY / "plugins").rglob("*.*") if "__pycache__" not in path.parts]
    packages = {init.parent for init in (REPOSITORY / "plugins").glob("*/__init__.py")}
    library = {f"dags/{p.relative_to(REPOSITORY / 'plugins')}" for p in files if packages & set(p.parents)}
    dags = {f"dags/{path.name}" for path in (REPOSITORY / "dags").glob("*.py")}
    assert uploaded == library | dags | {"dags/.airflowignore"}
    assert {"dags/to_lake.py", "dags/elt/orchestration/triggers.py"} < uploaded
    (environment,) = [r for r in declared_by("composer").resources if r.type.endswith(":Environment")]
    software = environment.inputs["config"]["softwareConfig"]
    assert software["envVariables"]["PYTHONPATH"] == "/home/airflow/gcs/dags"
    assert set(software["pypiPackages"]) == {"isal", "orjson"}
    assert all(bound.startswith("<") for bound in software["pypiPackages"].values())


def test_what_composer_gets_is_whole(tmp_path):
    """From its DAG folder alone: the triggerer's import, the catalogue, and no DAG but ours."""
    for name, source in uploads().items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source.encode() if isinstance(source, str) else source.read_bytes())
    program = (
        "import sys; sys.path[:] = [p for p in sys.path if not p.endswith('plugins')]\n"
        "import elt.orchestration.triggers, to_lake\n"
        "from elt.catalogue.registry import DATASETS, PROBLEMS\n"
        "from airflow.utils.file import list_py_file_paths\n"
        "files = [f.rpartition('/')[2] for f in list_py_file_paths(sys.argv[1])]\n"
        "print(elt.__file__, sorted(DATASETS), PROBLEMS, sorted(files), sep='\\n')"
    )
    dags = tmp_path / "dags"
    done = subprocess.run(
        [sys.executable, "-c", program, dags],
        capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(dags)},
    )  # fmt: skip
    where, datasets, problems, files = done.stdout.splitlines()[-4:]
    assert where == str(dags / "elt" / "__init__.py")
    assert ("yellow" in datasets, problems) == (True, "()")
    assert ast.literal_eval(files) == sorted(path.name for path in (REPOSITORY / "dags").glob("*.py"))


@pytest.mark.parametrize("ephemeral", ["true", "false"])
def test_one_switch_decides_about_life_and_death(ephemeral):
    config = {**read("ephemeral")["config"], "taxiway:ephemeral": ephemeral}
    declared = {resource.key: resource for resource in plan("alice", config).resources}
    bucket = declared["gcp:storage/bucket:Bucket::lake"]
    dataset = declared["gcp:bigquery/dataset:Dataset::warehouse"]
    dies = ephemeral == "true"
    assert (bucket.protect, dataset.protect) == (not dies, not dies)
    assert (bucket.inputs["forceDestroy"], dataset.inputs["deleteContentsOnDestroy"]) == (dies, dies)
    assert bucket.inputs["versioning"]["enabled"] is not dies
    assert (bucket.inputs["softDeletePolicy"]["retentionDurationSeconds"] == 0) is dies
    assert ("defaultTableExpirationMs" in dataset.inputs) is dies
    assert (
        bucket.inputs["deletionPolicy"]
        == dataset.inputs["deletionPolicy"]
        == ("DELETE" if dies else "PREVENT")
    )


def test_two_evaluations_in_one_process_do_not_mix():
    config = read("ephemeral")["config"]
    first = plan("alice", config)
    other = plan("bob", {**config, "taxiway:location": "EU"})
    assert plan("alice", config).outputs == first.outputs
    assert other.outputs["GCP_LOCATION"] == "EU"
    assert first.outputs["GCP_GCS_BUCKET"] != other.outputs["GCP_GCS_BUCKET"]


def test_a_refused_evaluation_does_not_hinder_the_next():
    config = read("ephemeral")["config"]
    for _ in range(3):
        with pytest.raises(EngineError):
            plan("alice", {**config, "taxiway:location": "mars"})
        assert plan("alice", config).resources


def accesses(name):
    (dataset,) = [one for one in declared_by(name).resources if one.type == "gcp:bigquery/dataset:Dataset"]
    return roles_by_member(dataset.inputs["accesses"])


def granted(name, prefix):
    resources = declared_by(name).resources
    members = [
        resource for resource in resources if str(resource.inputs.get("member", "")).startswith(prefix)
    ]
    return frozenset((r.name, r.inputs["role"]) for r in members if "member" in r.inputs)
