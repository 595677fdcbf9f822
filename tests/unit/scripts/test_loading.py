"""What the loader does about months that are loaded, missing, half loaded, late or refused."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from taxiway import loading
from taxiway.errors import TaxiwayError
from taxiway.loading import NOT_PUBLISHED, Loader, Unit, needed
from taxiway.progress import Progress

JANUARY = Unit("yellow", "2024-01")
ALL = {"raw", "typed", "warehouse", "mart", "postgres"}


class FakeAirflow:
    """Answers like Airflow's API; `script` says how each DAG's run ends, `follows` what an event starts."""

    def __init__(self, script: Mapping[str, str], follows: bool = True) -> None:
        self.script, self.follows = script, follows
        self.triggered: list[str] = []
        self.listed: list[dict[str, Any]] = []

    def trigger(self, dag_id: str, month: str | None, conf: Mapping[str, Any]) -> str:
        self.triggered.append(dag_id)
        return self._add(dag_id, month)

    def _add(self, dag_id: str, month: str | None) -> str:
        run = {"dag_id": dag_id, "dag_run_id": f"r{len(self.listed)}", "partition_key": month}
        self.listed.append({**run, "state": "running", "run_after": "2026"})
        return run["dag_run_id"]

    def runs(self, dag_ids: list[str], **criteria: Any) -> list[dict[str, Any]]:
        if "states" in criteria:
            return [run for run in self.listed if run["state"] == "running"]
        for run in list(self.listed):
            if run["state"] == "running":
                run["state"] = "failed" if self.script.get(run["dag_id"]) == "failed" else "success"
                if run["dag_id"] == "yellow_to_lake" and self.follows and run["dag_id"] not in self.script:
                    self._add("yellow_to_warehouse", run["partition_key"])
                    self._add("yellow_to_postgres", run["partition_key"])
        return self.listed

    def task_instances(self, dag_ids: list[str], run_ids: list[str]) -> list[dict[str, Any]]:
        return [
            {
                "dag_id": run["dag_id"],
                "dag_run_id": run["dag_run_id"],
                "task_id": "only",
                "state": self.script.get(run["dag_id"], run["state"]),
                "try_number": 1,
                "duration": 1.0,
            }
            for run in self.listed
        ]

    def failure(self, *_: Any) -> str:
        return "yellow_tripdata_2024-01.parquet: truncated"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "POLL_SECONDS", 0.0)


def loader(api: FakeAirflow) -> tuple[Loader, io.StringIO]:
    screen = io.StringIO()
    return Loader(api, Progress(Console(file=screen, width=200)), 0.0), screen  # type: ignore[arg-type]


def test_a_loaded_month_needs_nothing() -> None:
    assert needed(JANUARY, {JANUARY: ALL}) == []


def test_a_month_without_trace_needs_every_dag() -> None:
    assert needed(JANUARY, {}) == ["yellow_to_lake", "yellow_to_warehouse", "yellow_to_postgres"]


def test_a_month_whose_mart_is_missing_needs_the_warehouse_alone() -> None:
    assert needed(JANUARY, {JANUARY: ALL - {"mart"}}) == ["yellow_to_warehouse"]


def test_a_dataset_without_marts_and_postgres_needs_neither() -> None:
    assert needed(Unit("zones"), {Unit("zones"): {"typed", "warehouse"}}) == []


def test_only_the_lake_is_triggered_and_its_event_starts_the_others() -> None:
    api = FakeAirflow({})
    outcomes = loader(api)[0].load([JANUARY], {}, 5)
    assert outcomes == {JANUARY: ""}
    assert api.triggered == ["yellow_to_lake"]


def test_what_the_lake_has_is_not_fetched_again() -> None:
    api = FakeAirflow({})
    loader(api)[0].load([JANUARY], {JANUARY: {"raw", "typed", "postgres"}}, 5)
    assert api.triggered == ["yellow_to_warehouse"]


def test_a_run_that_is_under_way_is_followed_instead_of_doubled() -> None:
    api = FakeAirflow({})
    api.trigger("yellow_to_lake", "2024-01", {})
    assert loader(api)[0].load([JANUARY], {}, 5) == {JANUARY: ""}
    assert api.triggered == ["yellow_to_lake"]


def test_a_consumer_whose_event_was_lost_is_triggered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "EVENT_SECONDS", 0.01)
    api = FakeAirflow({}, follows=False)
    assert loader(api)[0].load([JANUARY], {}, 5) == {JANUARY: ""}
    assert set(api.triggered) == {"yellow_to_lake", "yellow_to_warehouse", "yellow_to_postgres"}


def test_a_month_that_was_skipped_is_not_published() -> None:
    api = FakeAirflow({"yellow_to_lake": "skipped"})
    assert loader(api)[0].load([JANUARY], {}, 5) == {JANUARY: NOT_PUBLISHED}


def test_a_failure_ends_with_the_sentence_of_its_task() -> None:
    api = FakeAirflow({"yellow_to_lake": "failed"})
    outcomes = loader(api)[0].load([JANUARY], {}, 5)
    assert outcomes[JANUARY] == "yellow_to_lake only: yellow_tripdata_2024-01.parquet: truncated"


def test_each_change_of_a_task_is_one_line() -> None:
    api = FakeAirflow({})
    following, screen = loader(api)
    following.load([JANUARY], {}, 5)
    lines = [line for line in screen.getvalue().splitlines() if "success" in line]
    assert len(lines) == 3


def test_silence_ends_with_the_months_that_are_open() -> None:
    api = FakeAirflow({}, follows=False)
    with pytest.raises(TaxiwayError, match="while loading yellow 2024-01"):
        loader(api)[0].load([JANUARY], {}, 0.05)
