"""What `up` and `run` do with the library's answer to what is loaded: load the rest, and report on it."""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from typing import Any

import pytest
import taxi
from fake_airflow import FakeAirflow
from fake_postgres import FakePostgres
from fakes import FakeClock, Stack
from rich.console import Console

from elt import bulk
from elt.catalogue.registry import DATASETS
from elt.errors import PermanentError
from elt.periods import Month, Partition, Span
from taxiway.console.progress import Progress
from taxiway.errors import TaxiwayError
from taxiway.loads.access import wait_until_allowed
from taxiway.loads.arguments import Request
from taxiway.loads.service import NOT_PUBLISHED_CODE, Loads, stored_sources

JANUARY, FEBRUARY = Partition("yellow", Month(2024, 1)), Partition("yellow", Month(2024, 2))
STAGES = {
    "to_lake": ("download", "conform"),
    "to_warehouse": ("stage", "audit", "publish", "mart"),
    "to_postgres": ("download", "postgres"),
}


class Platform:
    """A stack in memory whose stages run when their DAG is triggered."""

    def __init__(self) -> None:
        self.stack = Stack(FakePostgres())
        self.airflow = FakeAirflow(work=self.work)
        self.screen = io.StringIO()
        api: Any = self.airflow
        progress = Progress(Console(file=self.screen, width=200))
        self.loads = Loads(api, self.stack.connections, progress, poll_seconds=0.0)

    def publish(self, *months: str, seed: int = 0) -> None:
        for month in months:
            content = taxi.parquet(taxi.trips(month, 20, seed=seed))
            self.stack.publisher.publish("yellow", month, content)

    def work(self, dag_id: str, month: str | None) -> None:
        dataset, _, family = dag_id.partition("_")
        if family == "bulk_load":
            periods = Span.parse(str(month)).periods("month")
            requests = [self.stack.request(dataset, str(period), "bulk") for period in periods]
            for step in ("lake", "warehouse", "mart", "postgres"):
                bulk.run(step, requests, self.stack.connections)
        elif Partition.parse(dataset, month) in self.stack.publisher.files:
            # What a task fails with is Airflow's to say.
            with suppress(PermanentError):
                for stage in STAGES[family]:
                    self.stack.run(stage, dataset, month, f"run {len(self.airflow.listed)}")

    def shown(self) -> str:
        return self.screen.getvalue()


@pytest.fixture
def platform() -> Platform:
    return Platform()


def test_what_is_missing_is_loaded_and_the_second_time_nothing_is(platform: Platform) -> None:
    platform.publish("2024-01", "2024-02")
    assert platform.loads.load([JANUARY, FEBRUARY], 0) == 0
    assert platform.airflow.triggered == ["yellow_to_lake"] * 2
    assert [row["state"] for row in platform.loads.status([JANUARY, FEBRUARY])] == ["loaded"] * 2
    assert platform.loads.load([JANUARY, FEBRUARY], 0) == 0
    assert platform.airflow.triggered == ["yellow_to_lake"] * 2
    assert "nothing to do" in platform.shown()


def test_many_small_ones_are_loaded_together_and_what_is_left_out_by_itself(platform: Platform) -> None:
    wanted = [Partition("yellow", month) for month in Span.parse("2023-01..2024-03").periods("month")]
    broken, late = wanted[4], wanted[7]
    platform.publish(*(str(p.period) for p in wanted if p != late))
    platform.stack.publisher.publish("yellow", str(broken.period), b"PAR1 and no more")
    platform.airflow.script = {"yellow_to_lake": "failed"}
    assert platform.loads.load(wanted, 0) == 1
    assert platform.airflow.triggered == ["yellow_bulk_load", "yellow_to_lake", "yellow_to_lake"]
    assert platform.airflow.months == ["2023-01..2024-03", broken.key, late.key]
    assert platform.loads.codes == [int(p in (broken, late)) for p in wanted]
    assert "2 of them were left out, and are loaded one by one" in platform.shown()
    assert "yellow 2023-05 is not loaded: yellow_to_lake only: " in platform.shown(), "with its own reason"


def test_runs_of_a_call_that_was_killed_are_followed_and_not_doubled(platform: Platform) -> None:
    wanted = [Partition("yellow", month) for month in Span.parse("2023-01..2024-03").periods("month")]
    platform.publish(*(str(p.period) for p in wanted))
    # Its work is done when it is looked at, as that of a run that ends meanwhile.
    platform.airflow.work = lambda _dag, _month: None
    platform.airflow.trigger("yellow_bulk_load", "2023-01..2023-06", {})
    platform.airflow.work = platform.work
    assert platform.loads.load(wanted, 0) == 0
    assert platform.airflow.months == ["2023-01..2023-06", "2023-01..2024-03"]


def test_what_is_to_be_done_again_is_done_one_by_one(platform: Platform) -> None:
    wanted = [Partition("yellow", month) for month in Span.parse("2023-01..2024-03").periods("month")]
    platform.publish(*(str(p.period) for p in wanted))
    assert platform.loads.load(wanted, 0, again=True) == 0
    assert platform.airflow.triggered == ["yellow_to_lake"] * len(wanted)


def test_only_the_stages_that_are_missing_are_done(platform: Platform) -> None:
    platform.publish("2024-01")
    platform.work("yellow_to_lake", "2024-01")
    platform.work("yellow_to_postgres", "2024-01")
    assert platform.loads.load([JANUARY], 0) == 0
    assert platform.airflow.triggered == ["yellow_to_warehouse"]


def test_the_same_month_of_another_source_is_loaded_again(platform: Platform) -> None:
    """Generated rows never pass for real ones."""
    platform.publish("2024-01")
    platform.loads.load([JANUARY], 0)
    platform.stack.publisher.base_url = "https://another.test"
    platform.publish("2024-01", seed=1)
    assert platform.loads.load([JANUARY], 0) == 0
    assert platform.airflow.triggered == ["yellow_to_lake"] * 2
    (row,) = platform.loads.status([JANUARY])
    assert (row["state"], row["source"]) == ("loaded", "https://another.test")


def test_a_run_that_ends_without_a_trace_in_the_log_is_a_failure(platform: Platform) -> None:
    assert platform.loads.load([JANUARY], 0) == 1
    assert "yellow 2024-01 is not loaded: no trace of yellow_to_lake" in platform.shown()


def test_a_month_that_is_not_published_has_a_code_of_its_own(platform: Platform) -> None:
    platform.airflow.script = {"yellow_to_lake": "skipped"}
    assert platform.loads.load([JANUARY], 0) == NOT_PUBLISHED_CODE
    assert "Try again later: scripts/run yellow 2024-01" in platform.shown()


def test_what_failed_is_a_row_with_its_sentence_after_everybody_has_gone(platform: Platform) -> None:
    platform.publish("2024-01")
    platform.airflow.script = {"yellow_to_lake": "failed"}
    assert platform.loads.load([JANUARY], 0) == 1
    (row,) = platform.loads.report()
    assert (row["dataset"], row["period"]) == ("yellow", "2024-01")
    (failure,) = row["failures"]
    assert failure["reason"] == "yellow_to_lake only: yellow_tripdata_2024-01.parquet: truncated"
    assert failure["retry"] == "scripts/run yellow 2024-01 --failed"


def test_a_partition_that_nothing_is_loaded_of_is_a_failed_one(platform: Platform) -> None:
    """Its run has failed before there was anything to be seen of it."""
    platform.airflow.add("yellow_to_lake", "2024-02")["state"] = "failed"
    (row,) = platform.loads.report()
    assert (row["period"], row["state"]) == ("2024-02", "failed")


def test_a_run_in_progress_or_one_that_went_well_since_is_no_failure(platform: Platform) -> None:
    for state in ("running", "success"):
        platform.airflow.listed.clear()
        platform.airflow.add("yellow_to_lake", "2024-01")["state"] = "failed"
        platform.airflow.add("yellow_to_lake", "2024-01")["state"] = state
        assert platform.loads.failed([]) == []


def test_what_failed_is_run_again_although_an_earlier_file_is_loaded(platform: Platform) -> None:
    platform.publish("2024-01")
    platform.loads.load([JANUARY], 0)
    platform.airflow.add("yellow_to_lake", "2024-01")["state"] = "failed"
    platform.airflow.add("zones_to_lake", None)["state"] = "failed"
    broken = platform.loads.failed([Request([DATASETS["yellow"]], Span(Month(2024, 1), Month(2024, 1)))])
    assert [failure.partition for failure in broken] == [JANUARY]
    triggered = len(platform.airflow.triggered)
    assert platform.loads.load([JANUARY], 0, failed=broken) == 0
    assert platform.airflow.triggered[triggered:] == ["yellow_to_lake"]
    assert platform.loads.failed([Request([DATASETS["yellow"]], None)]) == []


def test_the_last_line_says_how_many_have_failed_and_what_to_type(platform: Platform) -> None:
    platform.publish("2024-01")
    platform.loads.load([JANUARY], 0)
    assert platform.loads.conclude(0) == 0
    assert re.search(r"✓ done in \d+\.\d s$", platform.shown().splitlines()[-1])
    platform.screen.truncate(0)
    platform.loads.progress.console = Console(file=platform.screen, width=200, force_terminal=True)
    code = platform.loads.load([JANUARY, FEBRUARY], 0)
    assert platform.loads.conclude(code) == code == 1
    last = platform.shown().splitlines()[-1]
    red = "\x1b[1;31m"
    assert f"{red} 1 failed. Why: scripts/status   Again: scripts/run --failed" in last
    assert "done" not in last


def test_force_does_everything_again(platform: Platform) -> None:
    platform.publish("2024-01")
    platform.loads.load([JANUARY], 0)
    assert platform.loads.load([JANUARY], 0, again=True, force=True) == 0
    assert platform.airflow.confs[-1]["force"] is True


def test_up_waits_for_grants_that_are_not_effective_yet_and_says_so(platform: Platform) -> None:
    clock, stack = FakeClock(), platform.stack
    stack.storage.faults = [403] * 3
    stack.bigquery.faults = [403]
    wait_until_allowed(platform.loads.connections, platform.loads.progress.say, clock.monotonic, clock.sleep)
    assert (clock.now, stack.storage.faults, stack.bigquery.faults) == (40, [], [])
    shown = platform.shown()
    assert "still waiting: gs://b/raw/: access denied" in shown
    assert "Google needs up to 7 minutes" in shown


def test_a_grant_that_never_comes_ends_in_a_sentence(platform: Platform) -> None:
    clock = FakeClock()
    platform.stack.bigquery.faults = [403] * 100
    with pytest.raises(TaxiwayError, match=r"BigQuery: .*access denied .*\(after 600 s\)"):
        wait_until_allowed(platform.loads.connections, print, clock.monotonic, clock.sleep)
    assert 600 <= clock.now <= 620


def test_without_a_process_manager_the_command_ends_and_makes_room_for_up(platform: Platform) -> None:
    platform.publish("2024-01")
    # It asks once: who waited would end with the same words, five minutes later.
    complaints = iter([{"process manager": "was ended; scripts/up takes over"}])
    platform.loads.ailing = lambda: next(complaints)
    with pytest.raises(TaxiwayError, match="process manager was ended; scripts/up takes over"):
        platform.loads.load([JANUARY], 0)
    assert platform.airflow.triggered == []


def test_what_the_source_has_changed_is_found_among_the_months_named(platform: Platform) -> None:
    platform.publish("2024-01", "2024-02")
    platform.loads.load([JANUARY, FEBRUARY], 0)
    yellow = DATASETS["yellow"]
    assert platform.loads.changed([Request([yellow], None)]) == []
    platform.publish("2024-01", "2024-02", seed=1)
    assert platform.loads.changed([Request([yellow], None)]) == [JANUARY, FEBRUARY]
    assert platform.loads.changed([Request([yellow], Span.parse("2024-02"))]) == [FEBRUARY]
    assert "yellow: 1 checked, 1 changed" in platform.shown()


def test_a_source_connection_that_airflow_stores_is_used_unless_a_variable_names_one(
    platform: Platform,
) -> None:
    api: Any = platform.airflow
    stored = {"conn_type": "http", "host": "https://mirror.test", "schema": None, "port": None}
    platform.airflow.stored["taxi_source"] = {**stored, "password": "***"}
    assert stored_sources(api, {"AIRFLOW_CONN_TAXI_SOURCE": "http://127.0.0.1:9080"}) == {}
    found = stored_sources(api, {})
    assert json.loads(found["AIRFLOW_CONN_TAXI_SOURCE"]) == stored
    extra = {"endpoint_url": "https://s3.test", "aws_session_token": "***"}
    platform.airflow.stored["taxi_source"] = {**stored, "extra": json.dumps(extra)}
    found = stored_sources(api, {})
    assert json.loads(found["AIRFLOW_CONN_TAXI_SOURCE"])["extra"] == {"endpoint_url": "https://s3.test"}
