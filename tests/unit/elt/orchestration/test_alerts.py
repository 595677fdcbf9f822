"""Messages to the webhook: what they say, where they go, and that nothing of it can fail a task."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from receiver import SECRET, Receiver, running

from elt.orchestration import alerts


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as server:
        yield server


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Receiver:
    connect(monkeypatch, receiver.url)
    return receiver


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    connection = {"conn_type": "generic", "password": url}
    monkeypatch.setenv("AIRFLOW_CONN_TAXI_ALERTS", json.dumps(connection))


class TaskInstance:
    """As much of Airflow's as an alert reads: its run's tasks by state, and which have reported."""

    task_id, try_number, log_url = "conform", 2, "http://127.0.0.1:8080/log"

    def __init__(self, states: dict[str, str], reported: set[tuple[str, int]]) -> None:
        self.states, self.reported, self.pushed = states, reported, dict[str, object]()

    def get_task_states(self, *, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        return {run_ids[0]: self.states}

    def xcom_pull(self, *, key: str, task_ids: str, map_indexes: int) -> object:
        return True if (task_ids, map_indexes) in self.reported else None

    def xcom_push(self, key: str, value: object) -> None:
        self.pushed[key] = value


def context(
    exception: BaseException | None = None,
    conf: dict[str, Any] | None = None,
    month: str | None = None,
    states: dict[str, str] | None = None,
    reported: set[tuple[str, int]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    return {
        "ti": TaskInstance(states or {}, reported or set()),
        "dag": SimpleNamespace(
            dag_id="yellow_to_lake", task_ids=["wait", "conform", "of_each"], dagrun_timeout=timedelta(days=1)
        ),
        "task": SimpleNamespace(period=month),
        "dag_run": SimpleNamespace(dag_id="yellow_to_lake", run_id="run", partition_key="2024-01", conf=conf),
        "exception": exception,
        **more,
    }


def test_a_failure_names_task_month_and_reason(connected: Receiver) -> None:
    alerts.task_failed(context(ValueError("column <fare> & more")))
    text = connected.messages[0]["text"]
    for part in ("yellow_to_lake 2024-01", "`conform`", "try 2", "column &lt;fare&gt; &amp; more", "|log>"):
        assert part in text


HOSTILE = "<!channel> @everyone *bold* [click](http://evil) ``` \x1b]0;owned\x07"


def test_a_reason_is_quoted_as_it_is_and_mentions_nobody(connected: Receiver) -> None:
    alerts.task_failed(context(ValueError(HOSTILE)))
    _, block, after = connected.messages[0]["text"].split("```")
    assert "&lt;!channel&gt; @everyone *bold* [click](http://evil) ''' \\x1b]0;owned\\x07" in block
    assert after == "\n<http://127.0.0.1:8080/log|log>"


def test_a_partition_key_that_somebody_typed_is_only_a_name(connected: Receiver) -> None:
    alerts.late(context(month=HOSTILE))
    alerts.task_failed(context(ValueError("x"), month=HOSTILE))
    for message in connected.messages:
        first = message["text"].splitlines()[0]
        assert "yellow_to_lake ??channel? ?everyone ?bold?" in first
        assert not set("<>@[]()") & set(first.replace("(try 2)", ""))


def test_a_failure_that_its_task_has_reported_is_not_reported_again(connected: Receiver) -> None:
    failing = context(ValueError("x"))
    alerts.task_failed(failing)
    assert failing["ti"].pushed == {alerts.REPORTED: True}
    alerts.run_failed(context(states={"wait": "success", "conform": "failed"}, reported={("conform", -1)}))
    assert len(connected.messages) == 1


def test_killed_tasks_are_reported_by_their_run_alone(connected: Receiver) -> None:
    alerts.task_failed(context())
    assert not connected.messages
    states = {"wait": "success", "conform": "failed", "of_each_0": "failed", "of_each_1": "failed"}
    alerts.run_failed(context(states=states, reported={("of_each", 0)}))
    assert "`conform`, `of_each_1` failed without an error message" in connected.messages[0]["text"]
    assert "yellow_to_lake 2024-01" in connected.messages[0]["text"]


def test_a_run_whose_time_is_over_is_reported_though_none_of_its_tasks_failed(connected: Receiver) -> None:
    alerts.run_failed(context(states={"wait": "skipped"}, reason="timed_out"))
    assert [message["text"].splitlines()[0] for message in connected.messages] == [
        ":red_circle: *yellow_to_lake 2024-01*: not finished within 1 day, 0:00:00"
    ]


def test_a_task_of_a_source_check_names_its_own_month(connected: Receiver) -> None:
    alerts.task_failed(context(ValueError("x"), month="2019-05"))
    assert "2019-05" in connected.messages[0]["text"]


def test_a_late_month_is_reported_unless_someone_waited_for_it(connected: Receiver) -> None:
    alerts.late(context())
    alerts.late(context(conf={"late_alert": False}))
    assert [("2024-01" in message["text"]) for message in connected.messages] == [True]


def test_without_a_connection_nothing_is_sent(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    alerts.task_failed(context(ValueError("x")))
    assert not receiver.messages
    assert not [record for record in caplog.records if record.name.startswith("elt")]


@pytest.mark.parametrize("problem", ["answers 500", "is gone", "is no address"])
def test_a_failing_webhook_is_a_line_without_its_address(
    connected: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, problem: str
) -> None:
    if problem == "answers 500":
        connected.status = 500
    else:
        url = f"http://127.0.0.1:9{SECRET}" if problem == "is gone" else f"of-nobody-else:{SECRET}"
        connect(monkeypatch, url)
    with caplog.at_level(logging.DEBUG, "elt"):
        alerts.task_failed(context(ValueError("x")))
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("elt")]
    assert len(logged) == 1
    assert "no alert was sent" in logged[0]
    assert "nobody" not in logged[0]


def test_a_context_that_is_not_as_expected_fails_nothing(connected: Receiver) -> None:
    alerts.task_failed({"exception": ValueError("x")})
    alerts.run_failed({})
    assert not connected.messages
