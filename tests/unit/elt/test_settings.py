import datetime as dt

import pytest

from elt.errors import SettingError, UsageError
from elt.settings import Settings, schedule_start

COMPLETE = {"GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "GCP_LOCATION": "EU"}


def test_the_stacks_outputs_are_enough():
    assert Settings.from_environment(COMPLETE) == Settings("b", "d", "EU")


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_variable_is_named_with_the_remedy(name, empty):
    env = {key: value for key, value in COMPLETE.items() if key != name} | ({name: ""} if empty else {})
    with pytest.raises(SettingError, match=rf"{name} is not set.*scripts/up"):
        Settings.from_environment(env)


def test_without_a_start_no_month_is_scheduled():
    for env in ({}, {"TAXI_SCHEDULE_START": ""}):
        assert schedule_start(env) is None
        assert Settings.from_environment(COMPLETE | env).schedule_start is None


def test_the_schedule_starts_on_a_day():
    env = {"TAXI_SCHEDULE_START": "2024-02-29"}
    assert Settings.from_environment(COMPLETE | env).schedule_start == dt.date(2024, 2, 29)
    assert schedule_start(env) == dt.date(2024, 2, 29), "DAG files need no other variable"


@pytest.mark.parametrize(
    "text",
    ["2024-13-01", "2024-02-30", "20240131", "2024-W05-3", "2024-1-5", "2024-01-01T12:00+05:00", "soon", " "],
)
def test_a_malformed_start_is_a_usage_error_that_shows_it(text):
    with pytest.raises(UsageError, match=r"TAXI_SCHEDULE_START='.*' is not a day\. Write it like 2024-01-31"):
        Settings.from_environment(COMPLETE | {"TAXI_SCHEDULE_START": text})


def test_limits_may_be_set():
    env = {"TAXI_MAX_BYTES_BILLED": "1000", "TAXI_JOB_SECONDS": "60"}
    found = Settings.from_environment(COMPLETE | env)
    assert (found.max_bytes_billed, found.job_seconds) == (1000, 60)
    found = Settings.from_environment(COMPLETE | dict.fromkeys(env, ""))
    assert (found.max_bytes_billed, found.job_seconds) == (100 * 2**30, 3600)


@pytest.mark.parametrize("name", ["TAXI_MAX_BYTES_BILLED", "TAXI_JOB_SECONDS"])
@pytest.mark.parametrize("text", ["0", "-1", "1e9", "10 GB", "\u0661"])
def test_a_malformed_limit_is_shown(name, text):
    with pytest.raises(SettingError, match=rf"{name}='.*' is not a whole number above 0"):
        Settings.from_environment(COMPLETE | {name: text})
