import json
import re
from dataclasses import fields

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.settings import CREDENTIALS, KEYS, Settings, SettingsError
from taxiway.environment.home import REPOSITORY

GCP = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com"}
EMULATORS = {
    "taxiway:project": "acme-data",
    "taxiway:credentials": "anonymous",
    "gcp:storageCustomEndpoint": "http://127.0.0.1:9023/storage/v1/",
    "gcp:bigQueryCustomEndpoint": "http://127.0.0.1:9050/bigquery/v2/",
}
PROVIDER = "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github"
FEDERATED = {
    "taxiway:credentials": "workload-identity",
    "taxiway:workloadIdentityProvider": PROVIDER,
    "taxiway:workloadIdentityPrincipal": "attribute.repository/acme/taxiway",
}
BILLED = {"taxiway:billingAccount": "012345-6789AB-CDEF01"}
KMS = "projects/acme/locations/{}/keyRings/data/cryptoKeys/lake"


def settings(**changes):
    return Settings.from_config({**GCP, **{f"taxiway:{key}": value for key, value in changes.items()}})


def refusal(**changes):
    with pytest.raises(SettingsError) as refused:
        settings(**changes)
    return str(refused.value)


def schema():
    return yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text())["config"]


def test_a_project_and_an_owner_are_enough():
    assert settings() == Settings(project="acme-data", owner="alice@example.com")


def test_the_schema_has_exactly_the_settings():
    assert set(schema()) == {f"taxiway:{key}" for key in KEYS.values()}


def test_every_setting_has_its_check():
    assert list(KEYS) == [field.name for field in fields(Settings)]


def test_the_schemas_defaults_are_the_settings():
    defaults = {field.name: field.default for field in fields(Settings) if field.name != "project"}
    written = {name: schema()[f"taxiway:{KEYS[name]}"]["default"] for name in defaults}
    assert written == defaults


def test_every_key_of_the_schema_has_type_description_and_default():
    types = {str: "string", int: "integer", bool: "boolean"}
    for key, entry in schema().items():
        assert entry["type"] == types[type(entry["default"])], key
        assert entry["description"].endswith((".", "?")), key


@given(st.dictionaries(st.sampled_from(sorted(KEYS.values())), st.text(max_size=60)))
def test_anything_is_either_taken_or_refused_with_value_and_remedy(values):
    config = {**GCP, **{f"taxiway:{key}": value for key, value in values.items()}}
    try:
        taken = Settings.from_config(config)
    except SettingsError as refused:
        assert re.search(
            r"taxiway:\w+ (is|is not) .*, but must be .*pulumi config set taxiway:\w+",
            str(refused),
            re.DOTALL,
        )
    else:
        assert taken.project
        assert taken.credentials in CREDENTIALS


@given(st.integers(-10, 10_000))
def test_days_of_retention_are_those_that_cloud_storage_takes(days):
    if days == 0 or 7 <= days <= 90:
        assert settings(retentionDays=str(days)).retention_days == days
    else:
        assert f"'{days}'" in refusal(retentionDays=str(days))


@given(st.sampled_from(["lifecycleDays", "datasetExpiryDays"]), st.integers(-10, 10_000))
def test_days_of_expiry_are_at_most_ten_years(key, days):
    if 0 <= days <= 3650:
        assert settings(**{key: str(days)})
    else:
        assert f"taxiway:{key} is '{days}'" in refusal(**{key: str(days)})


@pytest.mark.parametrize(("given_", "taken"), [("us", "US"), ("EU", "EU"), ("Europe-West4", "europe-west4")])
def test_a_location_has_one_spelling(given_, taken):
    assert settings(location=given_).location == taken


@pytest.mark.parametrize("location", ["NAM4", "ASIA", "europe", "us-central1-a", "mars-north1-x"])
def test_a_location_that_bucket_and_dataset_do_not_share_is_refused(location):
    assert refusal(location=location).startswith(
        f"taxiway:location is '{location}', but must be US, EU or a region such as europe-west4."
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ephemeral", "maybe"),
        ("credentials", "password"),
        ("owner", "alice"),
        ("owner", "allUsers"),
        ("owner", "domain:example.com"),
        ("project", "Acme"),
        ("kmsKey", "lake"),
        ("budget", "-1"),
        ("budget", "12.5"),
        ("composer", "yes"),
        ("runner", "yes"),
        ("runnerMachine", "e2-medium"),
        ("composerImage", "composer-2-airflow-2"),
        ("storageEmulator", "https://storage.googleapis.com"),
        ("billingAccount", "1234"),
        ("workloadIdentityTokenFile", "token"),
    ],
)
def test_a_bad_value_is_shown_with_what_is_valid_and_how_to_set_it(key, value):
    message = refusal(**{key: value})
    assert message.startswith(f"taxiway:{key} is '{value}', but must be ")
    assert f"Set it with: pulumi config set taxiway:{key} " in message


def test_a_missing_project_is_said():
    with pytest.raises(SettingsError, match=r"taxiway:project is not set.*config set taxiway:project"):
        Settings.from_config({})


def test_the_providers_project_will_do():
    assert (
        Settings.from_config({"gcp:project": "other-data", "taxiway:owner": "a@example.com"}).project
        == "other-data"
    )


def test_a_misspelt_key_is_refused_not_ignored():
    assert "taxiway:ephemral is not a setting." in refusal(ephemral="false")
    assert "taxiway:ephemeral" in refusal(ephemral="false")


def test_emulators_are_known_by_the_providers_endpoints():
    found = Settings.from_config(EMULATORS)
    assert (found.storage_emulator, found.bigquery_emulator) == (
        "http://127.0.0.1:9023",
        "http://127.0.0.1:9050",
    )


def test_pipelines_may_reach_the_emulators_under_other_names():
    other = {
        "taxiway:storageEmulator": "http://gcs:9023/",
        "taxiway:bigqueryEmulator": "http://bigquery:9050",
    }
    found = Settings.from_config({**EMULATORS, **other})
    assert (found.storage_emulator, found.bigquery_emulator) == ("http://gcs:9023", "http://bigquery:9050")


def test_one_emulator_alone_is_refused():
    message = refusal(storageEmulator="http://127.0.0.1:1")
    assert message.startswith("taxiway:bigqueryEmulator is not set")


def test_an_endpoint_of_googles_own_is_no_emulator():
    config = {**GCP, "gcp:storageCustomEndpoint": "https://storage.example.p.googleapis.com/storage/v1/"}
    assert not Settings.from_config(config).on_emulators


@pytest.mark.parametrize(("key", "value"), [("composer", "true"), ("budget", "50")])
def test_what_emulators_have_not_is_refused_there(key, value):
    with pytest.raises(SettingsError, match=f"taxiway:{key} is .*because this stack lives on emulators"):
        Settings.from_config(
            {**EMULATORS, f"taxiway:{key}": value, "taxiway:billingAccount": "012345-6789AB-CDEF01"}
        )


def test_anonymous_is_for_emulators():
    assert "must be impersonation, workload-identity or key on Google Cloud." in refusal(
        credentials="anonymous"
    )


def test_impersonation_needs_somebody_who_impersonates():
    with pytest.raises(SettingsError, match="taxiway:owner is not set"):
        Settings.from_config({"taxiway:project": "acme-data"})


@pytest.mark.parametrize("missing", ["workloadIdentityProvider", "workloadIdentityPrincipal"])
def test_federation_needs_provider_and_principal(missing):
    config = {**GCP, **FEDERATED}
    del config[f"taxiway:{missing}"]
    with pytest.raises(SettingsError, match=f"taxiway:{missing} is not set"):
        Settings.from_config(config)


@pytest.mark.parametrize(
    ("location", "place"), [("US", "us"), ("EU", "europe"), ("europe-west4", "europe-west4")]
)
def test_an_encryption_key_is_where_the_data_is(location, place):
    assert settings(location=location, kmsKey=KMS.format(place)).kms_key
    assert f"a key in {place}" in refusal(location=location, kmsKey=KMS.format("asia-east1"))


def test_a_budget_needs_its_billing_account():
    assert refusal(budget="50").startswith("taxiway:billingAccount is not set")


def test_composer_does_not_pretend_to_use_the_encryption_key():
    assert "kmsKey" in refusal(composer="true", kmsKey=KMS.format("us"))


def test_the_runner_does_not_pretend_to_use_the_encryption_key():
    assert "kmsKey" in refusal(runner="true", kmsKey=KMS.format("us"))


def test_the_same_dags_do_not_run_on_composer_and_the_runner():
    assert "Composer would run the same DAGs" in refusal(runner="true", composer="true")


@pytest.mark.parametrize(
    ("owner", "member"),
    [("a@example.com", "user:a@example.com"), ("group:a@example.com", "group:a@example.com")],
)
def test_an_owner_is_a_user_unless_said_otherwise(owner, member):
    assert settings(owner=owner).owner_member == member


def test_no_message_is_longer_than_a_few_lines():
    assert len(refusal(location="x" * 40)) < 300
    assert json.dumps(refusal(location="\n"))
