"""What the source offers: one entry per dataset."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from taxiway.emulators.tlc_sample.months import Month

Writer = Callable[[Path, Month, int], None]


@dataclass(frozen=True)
class Dataset:
    """A monthly dataset: `write(path, month, rows)` writes one month's file."""

    prefix: str
    first: Month
    write: Writer


def _writer(name: str) -> Writer:
    def write(path: Path, month: Month, rows: int) -> None:
        # It brings pyarrow and numpy: only once a month is asked for.
        module = import_module(f"taxiway.emulators.tlc_sample.{name}")
        module.write(path, month, rows)

    return write


DATASETS = {
    name: Dataset(f"{name}_tripdata", first, _writer(name))
    for name, first in (
        ("yellow", Month(2009, 1)),
        ("green", Month(2013, 8)),
        ("fhv", Month(2015, 1)),
        ("fhvhv", Month(2019, 2)),
    )
}
