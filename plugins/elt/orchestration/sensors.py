"""Waiting for a publication."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferralError, TaskDeferralTimeout

from elt.catalogue import registry
from elt.connections import source_connection
from elt.errors import PermanentError, TransientError
from elt.months import Partition
from elt.orchestration import alerts
from elt.orchestration.dag_defaults import EXECUTION_TIMEOUTS, TRIGGER_GRACE
from elt.orchestration.run_context import month_of
from elt.sources.publication import PATIENCE


class PublishedSensor(BaseSensorOperator):
    """Succeeds when the source has the run's month.

    A month that is there already passes at once. Otherwise the task is *deferred*: the triggerer asks the
    source every `poke_interval`, and no worker is held. After `timeout` the task is *skipped*, and the rest
    of the run with it: a month that is late is nobody's failure, but where alerts are on somebody hears of
    it. A run triggered with `{"publication_timeout": seconds}` as its configuration waits that long instead.
    """

    template_fields: Sequence[str] = ("dataset",)
    ui_color = "#f7e8b0"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "poke_interval": timedelta(minutes=30),
            "timeout": PATIENCE,
            "execution_timeout": EXECUTION_TIMEOUTS["wait"],
            "on_skipped_callback": alerts.late,
        }
        super().__init__(**{**defaults, **kwargs})
        self.dataset = dataset

    def execute(self, context: Any) -> None:
        """Ask once here: a source that does not answer at all fails the task, instead of being waited for."""
        from elt.orchestration.connections import source_of

        dataset = registry.dataset(self.dataset)
        month = month_of(dataset, context)
        with source_of(dataset) as source:
            if source.probe(month) is not None:
                return
            url = dataset.url(month, source.base_url)
        self.log.info("%s is not published yet. The triggerer waits for it.", self._partition(context))
        self._defer(context, connection=source_connection(dataset), url=url, file=dataset.file_name(month))

    def resume(self, context: Any, event: dict[str, Any]) -> None:
        """Go on, fail, or skip, as the trigger says."""
        if event["status"] == "failed":
            raise PermanentError(event["message"])
        if event["status"] != "published":
            self._skip(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Airflow's entry after a deferral, also where the trigger has never fired."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            # Nobody was there to fire it, so the trigger's own deadline has passed, too.
            self._skip(context)
        except TaskDeferralError as error:
            raise TransientError(
                f"{self._partition(context)}: the wait has failed in the triggerer ({error})."
            ) from None

    def _defer(self, context: Any, **what: Any) -> NoReturn:
        from elt.orchestration.triggers import PublicationTrigger

        timeout, interval = self.timeout, self.poke_interval
        requested = (context["dag_run"].conf or {}).get("publication_timeout")
        if requested is not None:
            timeout, interval = float(requested), min(interval, 5.0)
        self.defer(
            trigger=PublicationTrigger(deadline=time.time() + timeout, interval=interval, **what),
            method_name="resume",
            timeout=timedelta(seconds=timeout) + TRIGGER_GRACE,
        )

    def _skip(self, context: Any) -> NoReturn:
        raise AirflowSkipException(
            f"{self._partition(context)} is not published yet. Trigger it again when it is."
        )

    def _partition(self, context: Any) -> Partition:
        return Partition(self.dataset, month_of(registry.dataset(self.dataset), context))
