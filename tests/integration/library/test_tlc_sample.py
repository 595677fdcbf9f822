"""Real rows of TLC, where they are at hand: not one is lost."""

from dataclasses import replace
from pathlib import Path

import pytest
import taxi

from nyc_taxi import pipeline, report

TLC = Path(__file__).parents[4] / "shared/data/tlc"
MONTHS = ("2019-01", "2019-02", "2020-04", "2020-12")
VERBS = ("download", "conform", "stage", "audit", "publish", "mart", "ingest")

pytestmark = [
    pytest.mark.emulators,
    pytest.mark.skipif(not TLC.is_dir(), reason="needs TLC's own rows in ../shared/data/tlc"),
]


def test_ten_thousand_rows_a_month_arrive_in_every_store(stack, dsn, faulty_source):
    stack = replace(stack, postgres_dsn=dsn)
    for month in MONTHS:
        path = taxi.YELLOW.format(month)
        faulty_source.serve(path, (TLC / path[1:]).read_bytes())
        for verb in VERBS:
            getattr(pipeline, verb)("yellow", month, "run", stack)
    found = report.status(stack)
    assert [entry["month"] for entry in found] == list(MONTHS)
    for entry in found:
        assert entry["state"] == "loaded"
        assert entry["typed_rows"] + entry["quarantined_rows"] == 10_000
        assert entry["typed_rows"] == entry["warehouse_rows"] == entry["postgres_rows"]
