"""What the source offers: one entry per dataset."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from taxiway.local.sample_source.months import Month

Writer = Callable[[Path, Month, int], None]


@dataclass(frozen=True)
class Dataset:
    """A monthly dataset: `write(path, month, rows)` writes one month's file."""

    prefix: str
    first: Month
    write: Writer


def _write_yellow(path: Path, month: Month, rows: int) -> None:
    from taxiway.local.sample_source import yellow  # pyarrow and numpy, only once a month is asked for

    yellow.write(path, month, rows)


DATASETS = {
    "yellow": Dataset("yellow_tripdata", Month(2011, 1), _write_yellow),
}
