"""Messages to a webhook (Slack's incoming-webhook format), where one is set.

Its address is a secret: it is the password of the Airflow connection `taxi_alerts`, which Airflow keeps
encrypted and masks in logs.

A failed task sends its own alert, where it runs, with the exception. A killed one cannot: Airflow calls its
callback on its behalf twice, once or (where only its process died) not at all. So the run's callback, which
the DAG processor calls once, reports every failed task that has sent none. A task that is retried, for
whatever reason, sends nothing: nobody has to do anything.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

CONNECTION = "taxi_alerts"
# Key of the XCom by which a task says that it has reported its failure.
REPORTED = "reported_failure"
# Seconds to connect, and to wait for the answer.
TIMEOUT = (3, 10)
MAX_LENGTH = 600

log = logging.getLogger(__name__)


def task_failed(context: Mapping[str, Any]) -> None:
    """Report that a task has failed for good, and with what."""
    # Without an exception Airflow calls on behalf of a killed task, possibly twice.
    if context.get("exception") is not None:
        _notify(lambda: failure_text(context), before=lambda: context["ti"].xcom_push(REPORTED, True))


def run_failed(context: Mapping[str, Any]) -> None:
    """Report what of a failed run has not been reported: killed tasks, or that its time was over."""
    if context.get("reason") == "timed_out":
        _notify(lambda: timeout_text(context))
    _notify(lambda: killed_text(context, _unreported(context)))


def late(context: Mapping[str, Any]) -> None:
    """Report that a period was not published in time, unless somebody waited for it and knows."""
    if (context["dag_run"].conf or {}).get("late_alert", True):
        _notify(lambda: late_text(context))


def failure_text(context: Mapping[str, Any]) -> str:
    """Which task, which period, the sentence it ended with, and where its log is."""
    ti, exception = context["ti"], context["exception"]
    reason = (str(exception).strip() or type(exception).__name__)[:MAX_LENGTH]
    # In a block of code neither Slack nor those that understand its format read a mention, a link or a style.
    return (
        f":red_circle: *{_run(context)}*: `{ti.task_id}` failed (try {ti.try_number})\n"
        f"```\n{escape(reason)}\n```\n<{ti.log_url}|log>"
    )


def killed_text(context: Mapping[str, Any], tasks: Sequence[str]) -> str:
    """Which tasks ended without an error of their own; empty where there are none."""
    if not tasks:
        return ""
    named = ", ".join(f"`{task}`" for task in tasks)
    return (
        f":red_circle: *{_run(context)}*: {named} failed without an error message\n"
        f"> Probably killed (out of memory?), or the worker died.\n<{context['ti'].log_url}|log>"
    )


def timeout_text(context: Mapping[str, Any]) -> str:
    """Which run was not over in time."""
    return (
        f":red_circle: *{_run(context)}*: not finished within {context['dag'].dagrun_timeout}\n"
        f"> Airflow has ended the run. See what its tasks waited for.\n<{context['ti'].log_url}|log>"
    )


def late_text(context: Mapping[str, Any]) -> str:
    """Which period, and that nobody has to do anything."""
    return (
        f":hourglass: *{_run(context)}*: not published yet, and no longer waited for.\n"
        "> The daily source check loads it when it appears."
    )


def escape(text: str) -> str:
    """Keep Slack from reading markup into a text, which a backtick or a control character could leave."""
    shown = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
    return shown.replace("`", "'").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send(url: str, text: str) -> str:
    """Post a message; returns what went wrong, without the address, or nothing."""
    import requests  # only where there is something to send

    try:
        answer = requests.post(url, json={"text": text}, timeout=TIMEOUT)
    except requests.RequestException as error:
        return f"the webhook does not answer ({type(error).__name__})"
    return "" if answer.ok else f"the webhook answers {answer.status_code}"


def _run(context: Mapping[str, Any]) -> str:
    run = context["dag_run"]
    period = getattr(context.get("task"), "period", None) or run.partition_key
    # A partition key is what somebody typed: only what a name needs is kept of it.
    return re.sub(r"[^\w .:/+-]", "?", " ".join(filter(None, [run.dag_id, period])))


def _unreported(context: Mapping[str, Any]) -> list[str]:
    """Failed tasks of the run that have sent no alert; the instances of a mapped one as `task_3`."""
    ti, dag, run_id = context["ti"], context["dag"], context["dag_run"].run_id
    states = ti.get_task_states(dag_id=dag.dag_id, run_ids=[run_id]).get(run_id, {})
    unreported = []
    for name in sorted(name for name, state in states.items() if state == "failed"):
        task_id, _, index = (name, "", "-1") if name in dag.task_ids else name.rpartition("_")
        if not ti.xcom_pull(key=REPORTED, task_ids=task_id, map_indexes=int(index)):
            unreported.append(name)
    return unreported


def _notify(text: Callable[[], str], before: Callable[[], object] = lambda: None) -> None:
    """Send where there is a webhook; whatever goes wrong is a line in the log, never the task's failure."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        if not (url := Connection.get(CONNECTION).password):
            return
        before()
        message = text()
        problem = send(url, message) if message else ""
    except AirflowNotFoundException:
        return
    except Exception as error:
        # Only the type: the text may hold the address.
        problem = type(error).__name__
    if problem:
        log.warning("no alert was sent: %s", problem)
