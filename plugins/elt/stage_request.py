"""The parameters of one stage run."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from elt.catalogue import Dataset
from elt.periods import Partition, Period
from elt.settings import Settings


@dataclass(frozen=True)
class StageRequest:
    """One partition for one Airflow run; `force` does the work even if it is done.

    `awaited` is the id of the BigQuery job that a deferred task has waited for: if that job has failed,
    its reason is reported. A job that failed before anybody waited for it is replaced by a new one.

    Raises InvalidPeriodError for a period that the dataset cannot have.
    """

    dataset: Dataset
    period: Period | None
    run_id: str
    settings: Settings
    force: bool = False
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    awaited: str | None = None

    def __post_init__(self) -> None:
        self.dataset.check_period(self.period)

    @property
    def partition(self) -> Partition:
        """What is worked on."""
        return Partition(self.dataset.name, self.period)

    @property
    def file(self) -> str:
        """Name of the published file, for messages."""
        return self.dataset.file_name(self.period)

    @property
    def names(self) -> dict[str, str]:
        """Dataset and period as object metadata, where only texts exist: without a period there is no key.

        The key is `month`, as in the load log: both are older than datasets by days.
        """
        key = self.partition.key
        return {"dataset": self.dataset.name, **({"month": key} if key else {})}

    def result(self, **more: Any) -> dict[str, Any]:
        """What a stage returns: the partition and what came of it, fit for JSON."""
        return {"dataset": self.dataset.name, "period": self.partition.key, **more}
