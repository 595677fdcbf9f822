"""Green taxi trips: like yellow ones, with columns of their own."""

from pathlib import Path

import numpy as np

from taxiway.emulators.tlc_sample import layouts, yellow
from taxiway.emulators.tlc_sample.months import Month
from taxiway.emulators.tlc_sample.parquet import table, write_parquet
from taxiway.emulators.tlc_sample.rides import seeded


def write(path: Path, month: Month, rows: int) -> None:
    """Write the month's file to `path`."""
    columns = yellow.generate("green", month, rows)
    for end in ("pickup", "dropoff"):
        columns[f"lpep_{end}_datetime"] = columns[f"tpep_{end}_datetime"]
    # No fee is collected at airports.
    columns["total_amount"] = np.round(columns["total_amount"] - columns["airport_fee"], 2)
    columns["trip_type"] = np.where(seeded(f"green types {month}").random(rows) < 0.97, 1, 2)
    columns["missing"]["trip_type"] = columns["missing"].get("RatecodeID")
    write_parquet(path, table(columns, layouts.green(month)), month)
