"""Memory does not follow the file: the largest dataset, each verb in a process of its own, as a task has it.

With 400,000 rows by default. With those of a real month (it takes about ten minutes, and 4 GB of disk):

    TAXIWAY_FHVHV_ROWS=20000000 scripts/test tests/integration/elt/test_memory.py
"""

import os

import memory
import pytest

ROWS = int(os.environ.get("TAXIWAY_FHVHV_ROWS", "400000"))
LIMIT_MB = 300
VERBS = ("download", "conform", "stage", "ingest")

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(300 + ROWS // 5_000)]


def test_every_verb_stays_under_the_limit_whatever_the_rows():
    found = {measured.verb: measured for measured in memory.measure("fhvhv", "2024-01", ROWS, VERBS)}
    assert set(found) == set(VERBS)
    assert found["conform"].rows == found["stage"].rows == found["ingest"].rows > 0.99 * ROWS
    assert {verb: measured.peak_mb for verb, measured in found.items() if measured.peak_mb > LIMIT_MB} == {}
