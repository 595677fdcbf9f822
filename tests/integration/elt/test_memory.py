"""Memory does not follow the file: the largest dataset, each stage in a process of its own, as a task has it.

With 400,000 rows by default. With those of a real month (it takes about ten minutes, and 4 GB of disk):

    TAXIWAY_FHVHV_ROWS=20000000 scripts/test tests/integration/elt/test_memory.py
"""

import os

import memory
import pytest

ROWS = int(os.environ.get("TAXIWAY_FHVHV_ROWS", "400000"))
LIMIT_MB = 300
STAGES = ("download", "conform", "stage", "postgres")

pytestmark = [pytest.mark.emulators, pytest.mark.long, pytest.mark.timeout(300 + ROWS // 5_000)]


def test_every_stage_stays_under_the_limit_whatever_the_rows():
    found = {measured.stage: measured for measured in memory.measure("fhvhv", "2024-01", ROWS, STAGES)}
    assert set(found) == set(STAGES)
    assert found["conform"].rows == found["stage"].rows == found["postgres"].rows > 0.99 * ROWS
    assert {stage: measured.peak_mb for stage, measured in found.items() if measured.peak_mb > LIMIT_MB} == {}
