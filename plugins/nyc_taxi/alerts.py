"""Messages to a webhook (Slack's incoming-webhook format), where one is set.

Its address is a secret: it is the password of the Airflow connection `taxi_alerts`, which Airflow keeps
encrypted, masks in logs, and gives to whoever runs a task or, for a task that was killed, its callback.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

CONNECTION = "taxi_alerts"
KILLED = "Its process ended without a word: killed, or its worker is gone."
# Seconds to connect within, and to be answered in.
TIMEOUT = (3, 10)
LONGEST = 600

log = logging.getLogger(__name__)


def failed(context: Mapping[str, Any]) -> None:
    """Tell that a task has failed for good; Airflow calls it where the task ran, or in the DAG processor."""
    _notify(lambda: failure_text(context))


def late(context: Mapping[str, Any]) -> None:
    """Tell that a month was not published in time, unless someone waited for it and knows."""
    if (context["dag_run"].conf or {}).get("late_alert", True):
        _notify(lambda: late_text(context))


def failure_text(context: Mapping[str, Any]) -> str:
    """Which task, which month, the sentence it ended with, and where its log is."""
    ti, exception = context["ti"], context.get("exception")
    words = escape(str(exception or "").strip() or (type(exception).__name__ if exception else KILLED))
    quoted = "\n".join(f"> {line}" for line in words[:LONGEST].splitlines())
    return (
        f":red_circle: *{_run(context)}*: `{ti.task_id}` failed (try {ti.try_number})\n"
        f"{quoted}\n<{ti.log_url}|log>"
    )


def late_text(context: Mapping[str, Any]) -> str:
    """Which month, and that nobody has to do anything."""
    return (
        f":hourglass: *{_run(context)}*: not published yet, and no longer waited for.\n"
        "> The daily source check loads it when it appears."
    )


def escape(text: str) -> str:
    """Keep Slack from reading markup into a text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send(url: str, text: str) -> str:
    """Post a message; returns what went wrong, without the address, or nothing."""
    import requests  # only where there is something to tell

    try:
        answer = requests.post(url, json={"text": text}, timeout=TIMEOUT)
    except requests.RequestException as error:
        return f"the webhook does not answer ({type(error).__name__})"
    return "" if answer.ok else f"the webhook answers {answer.status_code}"


def _run(context: Mapping[str, Any]) -> str:
    run = context["dag_run"]
    month = getattr(context.get("task"), "month", None) or run.partition_key
    return " ".join(filter(None, [run.dag_id, month]))


def _notify(text: Any) -> None:
    """Send where there is a webhook; whatever goes wrong is a line in the log, never the task's failure."""
    try:
        url = _webhook()
        complaint = send(url, text()) if url else ""
    except Exception as error:
        complaint = type(error).__name__
    if complaint:
        log.warning("no alert was sent: %s", complaint)


def _webhook() -> str | None:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(CONNECTION).password or None
    except AirflowNotFoundException:
        return None
