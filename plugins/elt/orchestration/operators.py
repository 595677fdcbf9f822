"""Operators of our own: what several DAGs do with a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator

from elt.catalogue import registry as catalogue
from elt.orchestration.wiring import announce, month_of, run_verb, schedule_start


class MonthOperator(BaseOperator):
    """Does `verb` (a function of `elt.stages.registry`) with a month of `dataset`: `month`, or the run's.

    Returns the verb's counts, and hands them to the consumers of its outlets with the event.
    """

    template_fields: Sequence[str] = ("dataset", "verb", "month")
    ui_color = "#d5e8f7"

    def __init__(self, *, dataset: str, verb: str, month: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{"task_id": verb, **kwargs})
        self.dataset = dataset
        self.verb = verb
        self.month = month
        self._done: dict[str, Any] = {}

    def execute(self, context: Any) -> dict[str, Any]:
        """Do it; a refusal fails at once, trouble is retried."""
        dataset = catalogue.dataset(self.dataset)
        # A source check hands over "" for a dataset that has no months.
        month = month_of(dataset, context) if self.month is None else self.month or None
        done = run_verb(self.verb, dataset, context, month)
        self.log.info("%s %s: %s", self.verb, self.dataset, done)
        for asset in self.outlets:
            announce(asset, done, context, month)
        self._done = done
        return done

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """Called where OpenLineage is on."""
        from elt.orchestration.openlineage import lineage

        return lineage(self.inlets, self.outlets, self._done)


class SourceCheckOperator(BaseOperator):
    """Returns the months of `dataset` in the lake that the publisher has changed since, and late ones.

    One HEAD request for each month. Where a dataset has no months, it is one that is called "".
    """

    template_fields: Sequence[str] = ("dataset",)
    ui_color = "#f7e8b0"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**{"task_id": "check", **kwargs})
        self.dataset = dataset

    def execute(self, context: Any) -> list[str]:  # noqa: ARG002 - Airflow's signature
        """Ask the source."""
        from elt.settings import Settings
        from elt.sources.changes import scan
        from elt.sources.client import HttpSource
        from elt.stores.gcs import Lake

        dataset, settings = catalogue.dataset(self.dataset), Settings.from_environment()
        with HttpSource(dataset, settings.source_url or "") as source:
            found = scan(dataset, source, Lake(settings), scheduled_since=schedule_start().date())
        for name, why in found.failed.items():
            self.log.warning("%s stays as it is: %s", name, why)
        to_load = [str(month or "") for month in found.to_load]
        self.log.info("%s: %d checked, to load: %s", self.dataset, found.checked, to_load or "none")
        return to_load
