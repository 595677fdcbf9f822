"""Operators of our own: what several DAGs do with a month of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator

from nyc_taxi import catalogue
from nyc_taxi.wiring import announce, run_verb


class MonthOperator(BaseOperator):
    """Does `verb` (a function of `nyc_taxi.pipeline`) with the run's month of `dataset`.

    Returns the verb's counts, and hands them to the consumers of its outlets with the event.
    """

    template_fields: Sequence[str] = ("dataset", "verb")
    ui_color = "#d5e8f7"

    def __init__(self, *, dataset: str, verb: str, **kwargs: Any) -> None:
        super().__init__(**{"task_id": verb, **kwargs})
        self.dataset = dataset
        self.verb = verb

    def execute(self, context: Any) -> dict[str, Any]:
        """Do it; a refusal fails at once, trouble is retried."""
        done = run_verb(self.verb, catalogue.dataset(self.dataset), context)
        self.log.info("%s %s: %s", self.verb, self.dataset, done)
        for asset in self.outlets:
            announce(asset, done, context)
        return done
