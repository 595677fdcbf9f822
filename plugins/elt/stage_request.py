"""The parameters of one stage run."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from elt.catalogue import Dataset
from elt.months import Month, Partition
from elt.settings import Settings


@dataclass(frozen=True)
class StageRequest:
    """One partition for one Airflow run; `force` does the work even if it is done.

    `awaited` is the id of the BigQuery job that a deferred task has waited for: if that job has failed,
    its reason is reported. A job that failed before anybody waited for it is replaced by a new one.

    Raises InvalidMonthError for a month that the dataset cannot have.
    """

    dataset: Dataset
    month: Month | None
    run_id: str
    settings: Settings
    force: bool = False
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    awaited: str | None = None

    def __post_init__(self) -> None:
        self.dataset.check_month(self.month)

    @property
    def partition(self) -> Partition:
        """What is worked on."""
        return Partition(self.dataset.name, self.month)

    @property
    def file(self) -> str:
        """Name of the published file, for messages."""
        return self.dataset.file_name(self.month)

    @property
    def names(self) -> dict[str, str]:
        """Dataset and month as object metadata, where only texts exist: without a month there is no key."""
        month = self.partition.month_text
        return {"dataset": self.dataset.name, **({"month": month} if month else {})}

    def result(self, **more: Any) -> dict[str, Any]:
        """What a stage returns: the partition and what came of it, fit for JSON."""
        return {"dataset": self.dataset.name, "month": self.partition.month_text, **more}
