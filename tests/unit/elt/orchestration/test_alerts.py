"""Messages to the webhook: what they say, where they go, and that nothing of it can fail a task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import airflow.sdk
import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from receiver import SECRET, Receiver, running

from elt.orchestration import alerts


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as server:
        yield server


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Receiver:
    monkeypatch.setattr(airflow.sdk.Connection, "get", lambda _: SimpleNamespace(password=receiver.url))
    return receiver


class TaskInstance:
    """As much of Airflow's as an alert looks at: its run's tasks by state, and who has told of it."""

    task_id, try_number, log_url = "conform", 2, "http://127.0.0.1:8080/log"

    def __init__(self, states: dict[str, str], told: set[tuple[str, int]]) -> None:
        self.states, self.told, self.pushed = states, told, dict[str, object]()

    def get_task_states(self, *, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        return {run_ids[0]: self.states}

    def xcom_pull(self, *, key: str, task_ids: str, map_indexes: int) -> object:
        return True if (task_ids, map_indexes) in self.told else None

    def xcom_push(self, key: str, value: object) -> None:
        self.pushed[key] = value


def context(
    exception: BaseException | None = None,
    conf: dict[str, Any] | None = None,
    month: str | None = None,
    states: dict[str, str] | None = None,
    told: set[tuple[str, int]] | None = None,
) -> dict[str, Any]:
    return {
        "ti": TaskInstance(states or {}, told or set()),
        "dag": SimpleNamespace(dag_id="yellow_to_lake", task_ids=["wait", "conform", "of_each"]),
        "task": SimpleNamespace(month=month),
        "dag_run": SimpleNamespace(dag_id="yellow_to_lake", run_id="run", partition_key="2024-01", conf=conf),
        "exception": exception,
    }


def test_a_failure_says_which_task_and_month_and_why(connected: Receiver) -> None:
    alerts.task_failed(context(ValueError("column <fare> & more")))
    text = connected.messages[0]["text"]
    for words in ("yellow_to_lake 2024-01", "`conform`", "try 2", "column &lt;fare&gt; &amp; more", "|log>"):
        assert words in text


def test_a_task_that_told_of_its_failure_is_not_told_of_again(connected: Receiver) -> None:
    failing = context(ValueError("x"))
    alerts.task_failed(failing)
    assert failing["ti"].pushed == {alerts.TOLD: True}
    alerts.run_failed(context(states={"wait": "success", "conform": "failed"}, told={("conform", -1)}))
    assert len(connected.messages) == 1


def test_killed_tasks_are_told_of_by_their_run_alone(connected: Receiver) -> None:
    alerts.task_failed(context())
    assert not connected.messages
    states = {"wait": "success", "conform": "failed", "of_each_0": "failed", "of_each_1": "failed"}
    alerts.run_failed(context(states=states, told={("of_each", 0)}))
    assert "`conform`, `of_each_1` failed without a word" in connected.messages[0]["text"]
    assert "yellow_to_lake 2024-01" in connected.messages[0]["text"]


def test_a_task_of_a_source_check_says_its_own_month(connected: Receiver) -> None:
    alerts.task_failed(context(ValueError("x"), month="2019-05"))
    assert "2019-05" in connected.messages[0]["text"]


def test_a_late_month_is_told_of_unless_someone_waited_for_it(connected: Receiver) -> None:
    alerts.late(context())
    alerts.late(context(conf={"late_alert": False}))
    assert [("2024-01" in message["text"]) for message in connected.messages] == [True]


def test_without_a_connection_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(_: str) -> None:
        raise AirflowNotFoundException("no taxi_alerts")

    monkeypatch.setattr(airflow.sdk.Connection, "get", missing)
    alerts.task_failed(context(ValueError("x")))
    assert not receiver.messages
    assert not caplog.records


@pytest.mark.parametrize("trouble", ["refuses", "is gone", "is no address"])
def test_a_failing_webhook_is_a_line_without_its_address(
    connected: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    if trouble == "refuses":
        connected.status = 500
    else:
        url = f"http://127.0.0.1:9{SECRET}" if trouble == "is gone" else f"of-nobody-else:{SECRET}"
        monkeypatch.setattr(airflow.sdk.Connection, "get", lambda _: SimpleNamespace(password=url))
    with caplog.at_level(logging.DEBUG, "elt"):
        alerts.task_failed(context(ValueError("x")))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("elt")]
    assert len(told) == 1
    assert "no alert was sent" in told[0]
    assert "nobody" not in told[0]


def test_a_context_that_is_not_as_expected_fails_nothing(connected: Receiver) -> None:
    alerts.task_failed({"exception": ValueError("x")})
    alerts.run_failed({})
    assert not connected.messages
