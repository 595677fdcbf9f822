"""What the triggerer waits for while a task holds no worker: the end of a BigQuery job, a publication.

Airflow 3.3 fails a deferred task whose trigger fires before the scheduler has read that its worker left
("state mismatch", apache/airflow#72716): no trigger here fires in its first seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any

import requests
from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from airflow.providers.google.cloud.triggers.bigquery import BigQueryInsertJobTrigger
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigquery import DEFAULT_RETRY, Client

from elt.errors import PermanentError, TransientError, UsageError
from elt.orchestration.connections import place_of

# Seconds before a trigger may fire: far more than the scheduler's loop takes, and what a busy one needs.
SETTLE = 5.0
# States of a task that has ended: nobody will ask for its job again.
_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
# Seconds for one request; BigQuery's client repeats what is worth it for twice as long.
_TIMEOUT = 15.0


class JobTrigger(BigQueryInsertJobTrigger):
    """The provider's trigger, which asks for the first time after an interval, and cancels with care.

    It asks in threads of its own. The provider's triggers all share one, and one that is cancelled while it
    asks never learns that a user did so (asgiref drops the message): the job would go on.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and what to make it from, as Airflow stores them."""
        _, arguments = super().serialize()
        return f"{__name__}.{type(self).__name__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire when the job has ended, however, or BigQuery does not say: the stage then sees for itself."""
        event = None
        while event is None:
            await asyncio.sleep(max(SETTLE, self.poll_interval))
            event = await asyncio.to_thread(self._ask)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the job of a task that somebody has marked as ended.

        Airflow calls this "killed by a user", but also when a task is cleared (its next run finds the job)
        and when a triggerer that was thought dead comes back (another one waits for the job by then).
        """
        if self.cancel_on_kill and await asyncio.to_thread(self.task_state) in _ENDED:
            await asyncio.to_thread(self._client.cancel_job, str(self.job_id), **self._limits)
            self.log.info("BigQuery job %s is cancelled", self.job_id)

    def task_state(self) -> str | None:
        """State of the task that waits, as Airflow has it now."""
        task = self.task_instance
        if task is None:
            return None
        found = RuntimeTaskInstance.get_task_states(
            dag_id=task.dag_id, task_ids=[task.task_id], run_ids=[task.run_id], map_index=task.map_index
        )
        # A mapped task's instance has a name of its own there.
        return next(iter(found.get(task.run_id, {}).values()), None)

    def _ask(self) -> dict[str, str] | None:
        try:
            job = self._client.get_job(str(self.job_id), **self._limits)
        except (GoogleAPIError, GoogleAuthError, requests.RequestException) as error:
            return {"status": "error", "message": f"{type(error).__name__}: {error}"}
        if job.state != "DONE":
            return None
        failure = job.error_result
        return {"status": "error", "message": failure["message"]} if failure else {"status": "success"}

    @cached_property
    def _client(self) -> Client:
        hook = BigQueryHook(
            gcp_conn_id=self.conn_id, use_legacy_sql=False, impersonation_chain=self.impersonation_chain
        )
        return hook.get_client(project_id=self.project_id, location=self.location)

    @property
    def _limits(self) -> dict[str, Any]:
        return {"timeout": _TIMEOUT, "retry": DEFAULT_RETRY.with_timeout(2 * _TIMEOUT)}


class PublicationTrigger(BaseTrigger):
    """Fires when the file at `url` is published, when `deadline` has passed, or when it can never come.

    Plain values only, for Airflow's database: `connection` is the id of the source's connection (None: it
    has none), `url` may end in a pattern, `file` is the name for messages, `deadline` seconds since 1970,
    `interval` seconds between two requests. The catalogue is not asked: the triggerer has the one of its
    start, the task a newer one.
    """

    def __init__(self, connection: str | None, url: str, file: str, deadline: float, interval: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, Any] = {
            "connection": connection, "url": url, "file": file, "deadline": deadline, "interval": interval,
        }  # fmt: skip

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and what to make it from, as Airflow stores them."""
        return f"{__name__}.{type(self).__name__}", self.arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once: `status` is published, late, or failed (with a `message`)."""
        deadline, interval = self.arguments["deadline"], self.arguments["interval"]
        while True:
            await asyncio.sleep(max(SETTLE, min(interval, deadline - time.time())))
            # In a thread: the triggerer's loop has other triggers to serve.
            event = await asyncio.to_thread(self._ask)
            if event is None and time.time() >= deadline:
                event = {"status": "late"}
            if event is not None:
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]
                return

    def _ask(self) -> dict[str, str] | None:
        """One request, or a listing."""
        url, file = self.arguments["url"], self.arguments["file"]
        try:
            with place_of(self.arguments["connection"], url) as place:
                published = place.probe(url, file)
        except TransientError as error:
            # A source may be down for a night; its files come all the same.
            self.log.warning("%s", error)
            return None
        except (PermanentError, UsageError) as error:
            return {"status": "failed", "message": str(error)}
        return {"status": "published"} if published else None
