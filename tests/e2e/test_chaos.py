"""A short series of kills; the long one is `python tests/support/chaos.py`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from repository import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_whatever_is_killed_or_hangs_while_months_load_the_stores_end_as_they_were() -> None:
    command = [sys.executable, str(REPOSITORY / "tests" / "support" / "chaos.py")]
    few = ["--kills", "6", "--stops", "1", "--longest", "20"]
    done = subprocess.run([*command, *few], capture_output=True, text=True, timeout=840)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    figures = json.loads(done.stdout)
    assert figures["whole_trees"] == 1
    assert figures["killed"]["process manager"] >= 1
    assert figures["reads"]["whole"] >= 1
