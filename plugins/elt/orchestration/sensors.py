"""Waiting for a source."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from elt.catalogue import registry as catalogue
from elt.months import Month
from elt.orchestration import alerts
from elt.orchestration.wiring import month_of
from elt.sources.publication import PATIENCE


class PublishedSensor(BaseSensorOperator):
    """Succeeds when the source has the run's month, and returns what the source says of the file.

    Between two looks the task is *up for reschedule* and holds no slot. When `timeout` is over it
    is *skipped*, and the rest of the run with it: a month that is late is nobody's failure, but
    where alerts are on somebody hears of it. A run triggered with `{"publication_timeout": seconds}`
    as its configuration waits that long instead.
    """

    template_fields: Sequence[str] = ("dataset",)
    ui_color = "#f7e8b0"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        waiting: dict[str, Any] = {
            "mode": "reschedule",
            "poke_interval": timedelta(minutes=30),
            "timeout": PATIENCE,
            "on_skipped_callback": alerts.late,
        }
        super().__init__(**{**waiting, **kwargs})
        self.dataset = dataset

    def execute(self, context: Any) -> Any:
        """Wait as the run's configuration says, where it says so."""
        asked = (context["dag_run"].conf or {}).get("publication_timeout")
        if asked is not None:
            self.timeout, self.poke_interval = float(asked), min(self.poke_interval, 5.0)
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            # Not `soft_fail`: that would also skip what must fail, such as a run without a month.
            raise AirflowSkipException(f"{self._missing(context)} Trigger it again when it is.") from None

    def poke(self, context: Any) -> Any:
        """One HEAD request."""
        from airflow.sdk import PokeReturnValue

        from elt.settings import Settings
        from elt.sources.client import HttpSource

        entry = catalogue.dataset(self.dataset)
        key = month_of(entry, context)
        with HttpSource(entry, Settings.from_environment().source_url or "") as source:
            found = source.probe(Month.parse(key) if key else None)
        if found is None:
            self.log.info("%s", self._missing(context))
            return False
        return PokeReturnValue(
            is_done=True, xcom_value={"url": found.url, "etag": found.etag, "bytes": found.size}
        )

    def _missing(self, context: Any) -> str:
        key = month_of(catalogue.dataset(self.dataset), context)
        return f"{self.dataset} {key or ''} is not published yet."
