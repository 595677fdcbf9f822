"""What the loader does about partitions that are missing, half loaded, late or failed; few or many."""

from __future__ import annotations

import io
from typing import Any

import pytest
from fake_airflow import FakeAirflow
from rich.console import Console

from elt.periods import Month, Partition, Span
from taxiway.airflow.client import AirflowDownError
from taxiway.console.progress import Progress
from taxiway.errors import TaxiwayError
from taxiway.loads.runner import GIVE_UP_SECONDS, NOT_PUBLISHED, WINDOW, Loader, pace

JANUARY = Partition("yellow", Month(2024, 1))
LAKE, WAREHOUSE, POSTGRES = DAGS = ["yellow_to_lake", "yellow_to_warehouse", "yellow_to_postgres"]


class Interrupted(Exception):  # noqa: N818 - as KeyboardInterrupt
    """The test has waited long enough."""


class Clock:
    """A clock that only sleeping moves; whoever sleeps past `end` is interrupted."""

    def __init__(self, end: float = 1e9) -> None:
        self.now, self.end = 0.0, end

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > self.end:
            raise Interrupted

    def how(self) -> dict[str, Any]:
        return {"clock": lambda: self.now, "sleep": self.sleep, "poll_seconds": 7.0}


class Restarting(FakeAirflow):
    """Takes the first trigger and then is away for some requests, before it has answered."""

    def __init__(self, script: Any, away: int) -> None:
        super().__init__(script)
        self.away = away

    def trigger(self, dag_id: str, month: str | None, conf: Any) -> dict[str, Any]:
        run = super().trigger(dag_id, month, conf)
        self._answer()
        return run

    def runs(self, dag_ids: list[str], **criteria: Any) -> list[dict[str, Any]]:
        if self.listed:
            self._answer()
        return super().runs(dag_ids, **criteria)

    def _answer(self) -> None:
        self.away -= 1
        if self.away >= 0:
            raise AirflowDownError("connection refused")


def loader(api: FakeAirflow, **how: Any) -> tuple[Loader, io.StringIO]:
    screen: Any = io.StringIO()
    airflow: Any = api
    console = Console(file=screen, width=200)
    return Loader(airflow, Progress(console), 0.0, **{"poll_seconds": 0.0, **how}), screen


def load(
    api: FakeAirflow, *partitions: Partition, dags: list[str] = DAGS, silence: float = 5, **how: Any
) -> dict[Partition, str]:
    return loader(api, **how)[0].load(dict.fromkeys(partitions, dags), silence)


def six_years() -> list[Partition]:
    return [Partition("yellow", month) for month in Span.parse("2019-01..2024-12").periods("month")]


def test_only_the_lake_is_triggered_and_its_event_starts_the_others() -> None:
    api = FakeAirflow({})
    assert load(api, JANUARY) == {JANUARY: ""}
    assert api.triggered == ["yellow_to_lake"]


def test_what_the_lake_has_is_not_fetched_again() -> None:
    api = FakeAirflow({})
    load(api, JANUARY, dags=[WAREHOUSE])
    assert api.triggered == ["yellow_to_warehouse"]


def test_a_run_that_is_under_way_is_followed_instead_of_doubled() -> None:
    api = FakeAirflow({})
    api.trigger("yellow_to_lake", "2024-01", {})
    assert load(api, JANUARY) == {JANUARY: ""}
    assert api.triggered == ["yellow_to_lake"]


def test_a_run_under_way_is_doubled_where_everything_is_to_be_done_again() -> None:
    api = FakeAirflow({})
    api.trigger("yellow_to_lake", "2024-01", {})
    assert load(api, JANUARY, force=True) == {JANUARY: ""}
    assert api.triggered == ["yellow_to_lake"] * 2
    assert api.confs[1]["force"] is True


def test_an_older_run_of_the_month_is_not_taken_for_the_one_that_is_waited_for() -> None:
    api = FakeAirflow({}, follows=False)
    api.add("yellow_to_warehouse", "2024-01")["state"] = "failed"
    api.script = {"yellow_to_postgres": "success"}
    assert load(api, JANUARY, dags=[WAREHOUSE]) == {JANUARY: ""}


def test_a_consumer_whose_event_was_lost_is_triggered() -> None:
    api = FakeAirflow({}, follows=False)
    assert load(api, JANUARY, event_seconds=0.01) == {JANUARY: ""}
    assert set(api.triggered) == {"yellow_to_lake", "yellow_to_warehouse", "yellow_to_postgres"}


def test_a_consumer_that_is_queued_is_waited_for_however_long() -> None:
    api = FakeAirflow({}, follows=False)
    for dag_id in ("yellow_to_warehouse", "yellow_to_postgres"):
        api.add(dag_id, "2024-01").update(state="queued", start_date=None)
    with pytest.raises(Interrupted):
        load(api, JANUARY, event_seconds=-1.0, **Clock(end=300).how())
    assert api.triggered == ["yellow_to_lake"]


@pytest.mark.parametrize("state", ["queued", "deferred", "up_for_reschedule", "restarting"])
def test_a_task_that_waits_in_any_way_is_shown_and_followed(state: str) -> None:
    api = FakeAirflow({WAREHOUSE: state})
    following, screen = loader(api)
    assert following.load({JANUARY: [WAREHOUSE]}, 5) == {JANUARY: ""}
    assert [line for line in screen.getvalue().splitlines() if line.endswith(state)]


def test_a_run_without_a_partition_key_is_a_dataset_without_months() -> None:
    api = FakeAirflow({"zones_to_lake": "success"})
    assert load(api, Partition("zones"), dags=["zones_to_lake"]) == {Partition("zones"): ""}
    assert api.months == [None]


def test_a_month_that_was_skipped_is_not_published() -> None:
    assert load(FakeAirflow({"yellow_to_lake": "skipped"}), JANUARY) == {JANUARY: NOT_PUBLISHED}


def test_a_failure_ends_with_the_sentence_of_its_task() -> None:
    outcomes = load(FakeAirflow({"yellow_to_lake": "failed"}), JANUARY)
    assert outcomes[JANUARY] == "yellow_to_lake only: yellow_tripdata_2024-01.parquet: truncated"


def test_each_change_of_a_task_is_one_line() -> None:
    following, screen = loader(FakeAirflow({}))
    following.load({JANUARY: DAGS}, 5)
    lines = [line for line in screen.getvalue().splitlines() if "success" in line]
    assert len(lines) == 3


def test_silence_is_reported_and_watched_on_until_no_run_can_go_on() -> None:
    clock = Clock(end=2 * GIVE_UP_SECONDS)
    following, screen = loader(FakeAirflow({}, follows=False), **clock.how(), event_seconds=1e9)
    with pytest.raises(TaxiwayError, match="while loading yellow 2024-01"):
        following.load({JANUARY: DAGS}, 300)
    lines = [line for line in screen.getvalue().splitlines() if "still watching" in line]
    assert "nothing has happened for 30" in lines[0]
    assert clock.now > GIVE_UP_SECONDS


def test_who_waits_is_shown_which_component_does_not_answer_and_when_it_does_again() -> None:
    clock, hangs = Clock(end=200), {"scheduler": "does not answer since 12:03:04 UTC"}
    following, screen = loader(
        FakeAirflow({}, follows=False),
        **clock.how(),
        event_seconds=1e9,
        ailing=lambda: hangs if clock.now < 100 else {},
    )
    with pytest.raises(Interrupted):
        following.load({JANUARY: DAGS}, 300)
    said = [line for line in screen.getvalue().splitlines() if "scheduler" in line]
    assert ["does not answer since 12:03:04 UTC" in line for line in said] == [True, False]
    assert "scheduler answers again" in said[1]


def test_a_server_that_is_away_for_a_while_costs_nothing_but_the_wait() -> None:
    api, clock = Restarting({}, away=5), Clock()
    following, screen = loader(api, **clock.how())
    assert following.load({JANUARY: DAGS}, 300) == {JANUARY: ""}
    assert api.triggered == ["yellow_to_lake"], "a run whose answer was lost is followed, not doubled"
    assert "Airflow does not answer, and is asked again" in screen.getvalue()


def test_a_server_that_stays_away_ends_the_command() -> None:
    clock = Clock()
    with pytest.raises(AirflowDownError):
        load(Restarting({}, away=10_000), JANUARY, silence=60, **clock.how())
    assert 60 < clock.now < 120


def test_many_months_are_started_in_order_a_window_at_a_time() -> None:
    api, months = FakeAirflow({}), six_years()
    assert load(api, *months) == dict.fromkeys(months, "")
    assert api.months == [partition.key for partition in months]
    assert api.largest <= 3 * WINDOW, "more was asked for than is under way"


def test_the_requests_for_many_months_are_few() -> None:
    api, months = FakeAirflow({}), six_years()
    load(api, *months)
    polls = 2 * len(months) / WINDOW  # here every window is done after two looks
    assert api.requests <= len(months) + 1 + 3 * (polls + 2)


def test_many_months_are_a_line_each_with_pace_and_what_fails_is_said() -> None:
    following, screen = loader(FakeAirflow({"yellow_to_warehouse": "failed"}))
    following.load({month: [WAREHOUSE] for month in six_years()}, 5)
    lines = screen.getvalue().splitlines()
    ends = [line for line in lines if " of 72" in line]
    assert len(ends) == 72
    assert "a minute" in ends[30]
    assert len([line for line in lines if "failed" in line and line not in ends]) == 72


def test_pace_has_rate_and_remaining_time() -> None:
    assert pace(72, 288, 6 * 60.0) == "72 of 288, 12.0 a minute, 18 min left"
    assert pace(0, 288, 60.0) == "0 of 288"
    assert pace(2, 2, 2.0) == "2 of 2"


def test_a_task_that_is_tried_again_says_at_once_why() -> None:
    following, screen = loader(FakeAirflow({WAREHOUSE: "up_for_retry"}))
    following.load({JANUARY: [WAREHOUSE]}, 5)
    assert "up_for_retry (yellow_tripdata_2024-01.parquet: truncated)" in screen.getvalue()
