"""Conform a raw file to typed Parquet as the verb does it: `python -m bench.conforming RAW OUT`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench.data import MONTH
from elt.catalogue.registry import dataset
from elt.conforming.stream import Split, write


def main() -> None:
    """Conform January 2024; the last line of the output says how long it took."""
    raw, out = (Path(name) for name in sys.argv[1:])
    entry = dataset("yellow")
    if raw.name.endswith(".csv.gz"):
        # The same dataset, published as a user's own might be.
        entry = replace(entry, path="/trip-data/yellow_tripdata_{year}-{month}.csv.gz")
    started = time.monotonic()
    with raw.open("rb") as source, Split(source, entry, MONTH) as parts:
        rows, quarantine = write(parts)
        if quarantine is not None:
            raise SystemExit("some rows do not fit")
        with rows, out.open("wb") as target:
            shutil.copyfileobj(rows, target, 1 << 20)
    sys.stdout.write("\n" + json.dumps({"seconds": time.monotonic() - started}) + "\n")


if __name__ == "__main__":
    main()
