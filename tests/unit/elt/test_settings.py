import pytest

from elt.errors import SettingError, UsageError
from elt.settings import Settings

COMPLETE = {
    "GCP_PROJECT_ID": "p",
    "GCP_GCS_BUCKET": "b",
    "BIGQUERY_DATASET": "d",
    "GCP_LOCATION": "EU",
}


def test_the_stacks_outputs_are_enough():
    assert Settings.from_environment(COMPLETE) == Settings("p", "b", "d", "EU")


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_variable_is_named_with_the_remedy(name, empty):
    env = {key: value for key, value in COMPLETE.items() if key != name} | ({name: ""} if empty else {})
    with pytest.raises(SettingError, match=rf"{name} is not set.*scripts/up"):
        Settings.from_environment(env)


def test_emulators_source_and_postgres_come_from_the_environment():
    env = COMPLETE | {
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:2/",
        "TLC_BASE_URL": "http://127.0.0.1:3/",
        "TAXI_POSTGRES_DSN": "dbname=taxi",
    }
    found = Settings.from_environment(env)
    assert (found.storage_endpoint, found.bigquery_endpoint) == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert found.source_url == "http://127.0.0.1:3"
    assert found.require_postgres() == "dbname=taxi"


def test_a_malformed_address_is_shown():
    with pytest.raises(SettingError, match=r"TLC_BASE_URL='127\.0\.0\.1:3' is not a URL"):
        Settings.from_environment(COMPLETE | {"TLC_BASE_URL": "127.0.0.1:3"})


def test_a_target_without_postgres_says_so_when_it_is_needed():
    with pytest.raises(UsageError, match="TAXI_POSTGRES_DSN is not set"):
        Settings.from_environment(COMPLETE).require_postgres()
