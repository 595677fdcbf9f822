"""What a verb is asked to do."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Self

from elt.catalogue import Dataset
from elt.catalogue import registry as catalogue
from elt.months import Month
from elt.settings import Settings


@dataclass(frozen=True)
class Request:
    """One month of one dataset (no month where it has none), for one run; `force` does it even if done."""

    ds: Dataset
    month: Month | None
    run_id: str
    settings: Settings
    force: bool = False
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @classmethod
    def of(
        cls, name: str, month: str | None, run_id: str, settings: Settings, *, force: bool = False
    ) -> Self:
        """Read names as a run has them; UnknownDatasetError or InvalidMonthError if they are wrong."""
        ds = catalogue.dataset(name)
        parsed = Month.parse(month) if month else None
        ds.check_month(parsed)
        return cls(ds, parsed, run_id, settings, force)

    def __str__(self) -> str:
        return f"{self.ds.name} {self.month}" if self.month else self.ds.name

    @property
    def file(self) -> str:
        """Name of the published file."""
        return self.ds.file_name(self.month)

    @property
    def month_text(self) -> str | None:
        """The month as `2024-01`."""
        return str(self.month) if self.month else None

    @property
    def names(self) -> dict[str, str]:
        """Dataset and month as object metadata, which has only texts."""
        return {"dataset": self.ds.name, "month": self.month_text or ""}

    def result(self, **more: Any) -> dict[str, Any]:
        """What a verb returns: the request and what came of it, fit for JSON."""
        return {"dataset": self.ds.name, "month": self.month_text, **more}
